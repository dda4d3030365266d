// What can be said without a server; kms_end_to_end_test.cc in localkms/ has the rest.

#include "kms/kms_client.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

TEST(KmsErrors, AreJudgedByName) {
  auto code = [](std::string_view name, int http) {
    return KmsErrorToStatus(name, "", http).code();
  };
  EXPECT_EQ(code("ThrottlingException", 400), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code("KMSInternalException", 500), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code("KeyUnavailableException", 400), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code("AccessDeniedException", 500), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code("InvalidCiphertextException", 400), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("NotFoundException", 400), absl::StatusCode::kNotFound);
  EXPECT_EQ(code("DisabledException", 409), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("ExpiredTokenException", 400), absl::StatusCode::kUnauthenticated);
}

TEST(KmsErrors, OfUnknownNamesAreJudgedByHttpStatus) {
  auto code = [](int http) { return KmsErrorToStatus("NewException", "", http).code(); };
  EXPECT_EQ(code(500), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(503), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(429), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(403), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(400), absl::StatusCode::kFailedPrecondition);
}

TEST(KmsErrors, MessagesAreShortAndPrintable) {
  std::string text(KmsErrorToStatus("X", "a\nb\x1b" + std::string(5000, 'c'), 400).message());
  EXPECT_LT(text.size(), 300u);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace bulla
