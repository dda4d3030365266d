#include "bench/target/service.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"

namespace bulla {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kEndpoints =
    R"({"http":"127.0.0.1:1","grpc":"127.0.0.1:2","admin":"127.0.0.1:3","kms":"127.0.0.1:4",)"
    R"("pids":{"gateway":5,"enclave-1":6,"enclave-2":7,"kms":8},"later":[]})";

TEST(Service, IsReadFromEndpointsWithoutTheKms) {
  absl::StatusOr<Service> service = ParseService(kEndpoints);
  ASSERT_TRUE(service.ok()) << service.status();
  EXPECT_EQ(service->http, "127.0.0.1:1");
  EXPECT_EQ(service->grpc, "127.0.0.1:2");
  EXPECT_EQ(service->admin, "127.0.0.1:3");
  EXPECT_EQ(service->gateway, 5);
  EXPECT_THAT(service->enclaves, ElementsAre(6, 7));
}

TEST(Service, WhatIsMissingIsNamed) {
  for (const auto& [json, missing] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", "JSON"},
           {"[]", "JSON"},
           {R"({"http":"a:1","admin":"a:1","pids":{"gateway":1,"enclave-1":1}})", "grpc"},
           {R"({"http":"a:1","grpc":"a:1","admin":"a:1"})", "pids"},
           {R"({"http":"a:1","grpc":"a:1","admin":"a:1","pids":{"enclave-1":1}})", "gateway"},
           {R"({"http":"a:1","grpc":"a:1","admin":"a:1","pids":{"gateway":1}})", "enclave-N"},
           {R"({"http":"a:1","grpc":"a:1","admin":"a:1","pids":{"gateway":"x"}})", "gateway"}}) {
    absl::Status status = ParseService(json).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << json;
    EXPECT_THAT(std::string(status.message()), HasSubstr(missing)) << json;
  }
}

// With a stand-in for `bulla`: a shell script.
class OwnServiceTest : public testing::Test {
 protected:
  OwnServiceTest() {
    ByteArray<8> name;
    FillRandom(name);
    folder_ = std::filesystem::temp_directory_path() / ("bulla-test-" + HexEncode(name));
    std::filesystem::create_directories(folder_);
  }
  ~OwnServiceTest() override { std::filesystem::remove_all(folder_); }

  ServiceOptions Options(const std::string& script) {
    std::ofstream(folder_ / "bulla") << "#!/bin/sh\n" << script;
    ::chmod((folder_ / "bulla").c_str(), 0755);
    return {.program_dir = folder_,
            .enclaves = 2,
            .dev_arguments = {"--more", "x"},
            .settings = {{"BULLA_TEST_SETTING", "yes"}, {"BULLA_TEST_FOLDER", folder_}}};
  }
  std::string Noted(const std::string& name) const {
    std::ifstream stream(folder_ / name);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path folder_;
  RealClock clock_;
};

TEST_F(OwnServiceTest, IsStartedWithItsOptionsStoppedWithSigtermAndItsDataRemoved) {
  ServiceOptions options = Options(
      "trap 'echo stopped >$BULLA_TEST_FOLDER/end; kill $!; exit 0' TERM\n"
      "echo \"$* $BULLA_TEST_SETTING\" >$BULLA_TEST_FOLDER/arguments\n"
      "echo \"$3\" >$BULLA_TEST_FOLDER/data\n"
      "echo '" +
      std::string(kEndpoints) +
      "' >$3/new; mv $3/new $3/endpoints.json\n"
      "tail -f /dev/null & wait\n");
  {
    absl::StatusOr<OwnService> own = OwnService::StartBlocking(options, clock_);
    ASSERT_TRUE(own.ok()) << own.status();
    EXPECT_EQ(own->service().http, "127.0.0.1:1");
  }
  EXPECT_EQ(Noted("end"), "stopped\n");
  EXPECT_THAT(Noted("arguments"), HasSubstr("--enclaves 2 --http 127.0.0.1:0"));
  EXPECT_THAT(Noted("arguments"), HasSubstr("--more x yes"));
  std::string data = Noted("data");
  data.pop_back();
  EXPECT_FALSE(std::filesystem::exists(data)) << data;
}

TEST_F(OwnServiceTest, OneThatEndsAtOnceIsReportedWithItsLog) {
  absl::Status status =
      OwnService::StartBlocking(Options("echo no such option >&2; exit 2"), clock_).status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no such option"));
}

TEST_F(OwnServiceTest, AProgramThatIsNotThereIsReported) {
  ServiceOptions options = Options("");
  options.program_dir = folder_ / "elsewhere";
  EXPECT_THAT(std::string(OwnService::StartBlocking(options, clock_).status().message()),
              HasSubstr("elsewhere/bulla: No such file or directory (ENOENT)"));
}

TEST(ServiceCpu, OfAProcessThatHasEndedIsUnavailable) {
  Service service{.gateway = ::getpid(), .enclaves = {::getpid()}};
  EXPECT_TRUE(CpuTimeOf(service).ok());
  service.enclaves.push_back(-1);
  EXPECT_FALSE(CpuTimeOf(service).ok());
}

}  // namespace
}  // namespace bulla
