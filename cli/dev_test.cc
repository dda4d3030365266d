#include "cli/dev.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>

#include <fcntl.h>

#include "base/fd.h"
#include "base/random.h"

namespace bulla {
namespace {

using testing::HasSubstr;

// Stand-ins for the daemons: shell scripts that write a ready file and wait. The last argument is
// the ready file's path in all of them.
constexpr const char* kStandIn =
    "#!/bin/sh\n"
    "[ \"$1\" = --make-simulated-root ] && exit 0\n"
    "for ready; do :; done\n"
    "echo \"$0 starts\"\n"
    "echo '{\"listen\":\"127.0.0.1:1\",\"keyArn\":\"arn:aws:kms:x\",\"http\":\"127.0.0.1:1\","
    "\"grpc\":\"127.0.0.1:1\",\"admin\":\"127.0.0.1:1\"}' >$ready.new; mv $ready.new $ready\n"
    "exec tail -f /dev/null\n";

class DevTest : public testing::Test {
 protected:
  DevTest() {
    ByteArray<8> name;
    FillRandom(name);
    folder_ = std::filesystem::temp_directory_path() / ("bulla-test-" + HexEncode(name));
    options_.program_dir = folder_ / "bin";
    options_.data_dir = folder_ / "data";
    std::filesystem::create_directories(options_.program_dir);
    for (const char* program : {"bulla-kms", "bulla-enclave", "bulla-gateway"}) {
      MakeProgram(program, kStandIn);
    }
  }
  ~DevTest() override { std::filesystem::remove_all(folder_); }

  void MakeProgram(const std::string& name, const std::string& script) const {
    std::ofstream(options_.program_dir / name) << script;
    ::chmod((options_.program_dir / name).c_str(), 0755);
  }
  ExitCode RunDevHere() {
    return RunDevBlocking(options_, Console{.out = out_, .err = err_, .json = false});
  }

  std::filesystem::path folder_;
  DevOptions options_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(DevTest, AGatewayThatDoesNotAnswerIsNoSuccessAndNothingIsLeftBehind) {
  options_.smoke = true;
  EXPECT_EQ(RunDevHere(), ExitCode::kNothingThere) << err_.str();
  EXPECT_THAT(err_.str(), HasSubstr("bulla-gateway is ready"));
  EXPECT_FALSE(std::filesystem::exists(options_.data_dir / "endpoints.json"));
}

TEST_F(DevTest, ADaemonThatFailsIsNamedWithTheEndOfItsLog) {
  MakeProgram("bulla-enclave",
              "#!/bin/sh\n[ $1 = --make-simulated-root ] && exit 0\necho 'no entropy'; exit 1\n");
  EXPECT_EQ(RunDevHere(), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("enclave-"));
  EXPECT_THAT(err_.str(), HasSubstr("no entropy"));
}

TEST_F(DevTest, TwoOnOneDataDirectoryAreRefused) {
  std::filesystem::create_directories(options_.data_dir);
  UniqueFd lock(::open((options_.data_dir / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  std::ofstream(options_.data_dir / "endpoints.json") << "{}";
  EXPECT_EQ(RunDevHere(), ExitCode::kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("another `bulla dev` runs"));
  EXPECT_TRUE(std::filesystem::exists(options_.data_dir / "endpoints.json"))
      << "the file of the one that runs must stay";
}

TEST_F(DevTest, TheDataDirectoryAndTheCredentialsAreTheOwnersOnly) {
  options_.smoke = true;
  RunDevHere();
  struct stat status {};
  ASSERT_EQ(::stat(options_.data_dir.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((options_.data_dir / "kms" / "credentials.json").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(DevTest, ADataDirectoryTooDeepForSocketsWorksAllTheSame) {
  options_.smoke = true;
  options_.data_dir = folder_ / std::string(120, 'd');
  EXPECT_EQ(RunDevHere(), ExitCode::kNothingThere);
  EXPECT_THAT(err_.str(), HasSubstr("too deep for Unix sockets"));
  EXPECT_THAT(err_.str(), HasSubstr("bulla-gateway is ready"));
}

}  // namespace
}  // namespace bulla
