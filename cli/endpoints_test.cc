#include "cli/endpoints.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"

namespace bulla {
namespace {

TEST(Endpoints, WhatIsFormattedParsesBack) {
  Endpoints endpoints{{{"http", "127.0.0.1:1"}, {"admin", "127.0.0.1:2"}},
                      {{"gateway", 7}, {"enclave-1", 4'194'304}}};
  auto parsed = ParseEndpoints(FormatEndpoints(endpoints));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, endpoints);
}

TEST(Endpoints, MembersThatAreNoAddressesAreIgnored) {
  auto parsed = ParseEndpoints(R"({"http": "a:1", "version": 3, "more": {"x": []}})");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->addresses.size(), 1u);
}

TEST(Endpoints, ProcessesThatCannotBeAreIgnoredAndTooManyRefused) {
  auto parsed =
      ParseEndpoints(R"({"pids": {"gateway": 0, "kms": -1, "a": "1", "b": 1.5, "c": 2}})");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->pids, (std::map<std::string, pid_t>{{"c", 2}}));
  std::string many = R"({"pids": {"0": 1)";
  for (int i = 1; i <= 64; ++i) many += ", \"" + std::to_string(i) + "\": 1";
  EXPECT_FALSE(ParseEndpoints(many + "}}").ok());
  EXPECT_TRUE(ParseEndpoints(R"({"pids": 3})").ok());
}

TEST(Endpoints, RefusesWhatIsTooLargeOrNoObject) {
  for (const std::string& text : {std::string("[]"), std::string("{"), std::string(),
                                  std::string(5000, '['), std::string(5000, ' ') + "{}"}) {
    EXPECT_FALSE(ParseEndpoints(text).ok()) << text.substr(0, 10);
  }
}

class FindEndpointTest : public testing::Test {
 protected:
  FindEndpointTest() {
    ByteArray<8> name;
    FillRandom(name);
    folder_ = std::filesystem::temp_directory_path() / ("bulla-test-" + HexEncode(name));
    std::filesystem::create_directories(folder_);
    search_.data_dir = folder_;
  }
  ~FindEndpointTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  EndpointSearch search_{.listener = "http",
                         .option_name = "--url",
                         .option = {},
                         .variable_name = "BULLA_URL",
                         .variable = nullptr,
                         .data_dir = {},
                         .fallback = "127.0.0.1:8080"};
};

TEST_F(FindEndpointTest, TheOptionBeatsTheVariableBeatsTheFileBeatsTheDefault) {
  EXPECT_EQ(FindEndpoint(search_)->url.at.port, 8080);
  EXPECT_EQ(FindEndpoint(search_)->source, "the default");
  std::ofstream(folder_ / "endpoints.json") << R"({"http": "127.0.0.1:3"})";
  EXPECT_EQ(FindEndpoint(search_)->url.at.port, 3);
  search_.variable = "http://127.0.0.1:2";
  EXPECT_EQ(FindEndpoint(search_)->url.at.port, 2);
  EXPECT_EQ(FindEndpoint(search_)->source, "$BULLA_URL");
  search_.option = "http://127.0.0.1:1";
  EXPECT_EQ(FindEndpoint(search_)->url.at.port, 1);
  EXPECT_EQ(FindEndpoint(search_)->source, "--url");
}

TEST_F(FindEndpointTest, AnEmptyVariableCountsAsUnset) {
  search_.variable = "";
  EXPECT_EQ(FindEndpoint(search_)->source, "the default");
}

TEST_F(FindEndpointTest, ABrokenFileIsAnErrorThatNamesIt) {
  std::ofstream(folder_ / "endpoints.json") << "{";
  absl::Status status = FindEndpoint(search_).status();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("endpoints.json"));
}

TEST_F(FindEndpointTest, AFileWithoutThatListenerLeavesTheDefault) {
  std::ofstream(folder_ / "endpoints.json") << R"({"grpc": "127.0.0.1:3"})";
  EXPECT_EQ(FindEndpoint(search_)->source, "the default");
}

}  // namespace
}  // namespace bulla
