#include "base/aws_credentials.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

const AwsCredentials kGood{"ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                           "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ=="};

TEST(AwsCredentials, WhatAwsIssuesIsTaken) {
  EXPECT_EQ(CheckAwsCredentials(kGood), absl::OkStatus());
  AwsCredentials lasting = kGood;
  lasting.session_token.clear();
  EXPECT_EQ(CheckAwsCredentials(lasting), absl::OkStatus());
}

TEST(AwsCredentials, WhatCouldEndAHeaderIsRefusedByNameAndNeverShown) {
  for (std::string AwsCredentials::*part :
       {&AwsCredentials::access_key_id, &AwsCredentials::secret_access_key,
        &AwsCredentials::session_token}) {
    for (int c = 0; c < 256; ++c) {
      const bool word = std::isalnum(c) != 0;
      AwsCredentials tried = kGood;
      (tried.*part)[3] = static_cast<char>(c);
      absl::Status status = CheckAwsCredentials(tried);
      EXPECT_TRUE(status.ok() || !word) << c;
      if (c <= ' ' || c >= 0x7f || c == ',' || c == ':' || c == ';') {
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c;
        EXPECT_EQ(status.ToString().find((tried.*part).substr(0, 3)), std::string::npos) << status;
      }
    }
    AwsCredentials split = kGood;
    (split.*part) += "\r\nX-Amz-Target: TrentService.Encrypt";
    EXPECT_FALSE(CheckAwsCredentials(split).ok());
  }
  AwsCredentials named = kGood;
  named.session_token += '\n';
  EXPECT_NE(CheckAwsCredentials(named).ToString().find("session token"), std::string::npos);
}

TEST(AwsCredentials, LengthsAreAwss) {
  const auto with = [](std::size_t id, std::size_t secret, std::size_t token) {
    return CheckAwsCredentials(
        {std::string(id, 'A'), std::string(secret, 'a'), std::string(token, 't')});
  };
  EXPECT_TRUE(with(16, 16, 0).ok());
  EXPECT_TRUE(with(128, 128, 8192).ok());
  EXPECT_FALSE(with(15, 40, 0).ok());
  EXPECT_FALSE(with(129, 40, 0).ok());
  EXPECT_FALSE(with(20, 15, 0).ok());
  EXPECT_FALSE(with(20, 129, 0).ok());
  EXPECT_FALSE(with(20, 40, 8193).ok());
}

}  // namespace
}  // namespace bulla
