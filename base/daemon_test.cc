#include "base/daemon.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

namespace bulla {
namespace {

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    char name[] = "/tmp/bulla-daemon-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~DaemonTest() override { std::filesystem::remove_all(dir_); }
  std::string dir_;
};

TEST_F(DaemonTest, AFileIsWrittenWholeAndForItsOwnerAlone) {
  std::string path = dir_ + "/ready.json";
  ASSERT_TRUE(WriteFileAtomically(path, "{\"a\": 1}").ok());
  ASSERT_TRUE(WriteFileAtomically(path, "{}").ok());
  EXPECT_EQ(*ReadFile(path, 100), "{}");
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1) << "nothing beside it";
}

TEST_F(DaemonTest, AFailedWriteSaysWhichFile) {
  absl::Status status = WriteFileAtomically(dir_ + "/no/such/folder", "x");
  EXPECT_NE(std::string(status.message()).find(dir_), std::string::npos) << status;
}

TEST_F(DaemonTest, AFileAtTheLimitIsReadAndOneByteMoreIsNot) {
  std::string path = dir_ + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, std::string(10'000, 'x')).ok());
  EXPECT_EQ(ReadFile(path, 10'000)->size(), 10'000u);
  EXPECT_EQ(ReadFile(path, 9'999).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(path + "x", 10).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(DaemonTest, DescriptorsAreAllowedUpToTheHardLimit) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), limit.rlim_max);
}

using StopSignalsDeathTest = DaemonTest;

TEST_F(StopSignalsDeathTest, ASignalIsWaitedForAndNamed) {
  EXPECT_EXIT(
      {
        StopSignals stop;
        ::kill(::getpid(), SIGTERM);
        ::_exit(stop.WaitBlocking() == "SIGTERM" ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(StopSignalsDeathTest, AHangupCallsWhoAskedForItAndDoesNotStop) {
  EXPECT_EXIT(
      {
        int hangups = 0;
        // The kernel hands out signals that wait together with the lowest number first.
        StopSignals stop([&] {
          if (++hangups == 1) ::kill(::getpid(), SIGHUP);
        });
        ::kill(::getpid(), SIGTERM);
        ::kill(::getpid(), SIGHUP);
        ::_exit(stop.WaitBlocking() == "SIGTERM" && hangups == 2 ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(StopSignalsDeathTest, AHangupThatNobodyAskedForEndsTheProgram) {
  EXPECT_EXIT(
      {
        StopSignals stop;
        ::kill(::getpid(), SIGHUP);
        stop.WaitBlocking();
      },
      testing::KilledBySignal(SIGHUP), "");
}

}  // namespace
}  // namespace bulla
