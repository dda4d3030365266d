#include "gateway/link/credentials.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace bulla {
namespace {

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() {
    char name[] = "/tmp/bulla-credentials-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~CredentialsTest() override { std::filesystem::remove_all(dir_); }
  absl::StatusOr<AwsCredentials> Read(const std::string& text) {
    std::ofstream(dir_ + "/c.json") << text;
    return ReadCredentials(dir_ + "/c.json");
  }
  std::string dir_;
};

TEST_F(CredentialsTest, AllThreePartsAreRead) {
  absl::StatusOr<AwsCredentials> read =
      Read(R"({"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "SSSSSSSSSSSSSSSS",
               "sessionToken": "T"})");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->access_key_id, "AKIAIOSFODNN7EXAMPLE");
  EXPECT_EQ(read->secret_access_key, "SSSSSSSSSSSSSSSS");
  EXPECT_EQ(read->session_token, "T");
}

TEST_F(CredentialsTest, RotatedOnesAreSeenAtTheNextRead) {
  for (const char* id : {"AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"}) {
    EXPECT_EQ(Read(std::string(R"({"accessKeyId": ")") + id +
                   R"(", "secretAccessKey": "SSSSSSSSSSSSSSSS"})")
                  ->access_key_id,
              id);
  }
}

TEST_F(CredentialsTest, WhatIsNoneIsRefusedAndTheFileNamedButNotItsText) {
  for (const char* text : {"", "hunter2", "[]", "{}", R"({"accessKeyId": "hunter2"})",
                           R"({"accessKeyId": 7, "secretAccessKey": "hunter2hunter2hu"})",
                           R"({"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "sessionToken": 7,
                               "secretAccessKey": "hunter2hunter2hu"})",
                           R"({"accessKeyId": "AKIAIOSFODNN7EXAMPLE",
                               "secretAccessKey": "hunter2hunter2hu",
                               "sessionToken": "hunter2\r\nX-Amz-Target: other"})"}) {
    std::string message(Read(text).status().message());
    EXPECT_NE(message.find("c.json"), std::string::npos) << text;
    EXPECT_EQ(message.find("hunter2"), std::string::npos) << message;
  }
  EXPECT_FALSE(Read(std::string(100'000, ' ')).ok());
  EXPECT_FALSE(ReadCredentials(dir_ + "/none").ok());
}

}  // namespace
}  // namespace bulla
