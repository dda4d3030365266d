#include "wire/errors.h"

#include <gtest/gtest.h>
#include <set>

namespace bulla {
namespace {

TEST(Errors, TheTableIsTheOneOfTheContract) {
  struct Want {
    ErrorCode code;
    const char* name;
    int http;
    bool retryable;
  };
  for (const Want& want :
       std::initializer_list<Want>{{ErrorCode::kInvalidArgument, "INVALID_ARGUMENT", 400, false},
                                   {ErrorCode::kUnauthenticated, "UNAUTHENTICATED", 401, false},
                                   {ErrorCode::kPermissionDenied, "PERMISSION_DENIED", 403, false},
                                   {ErrorCode::kInvalidKey, "INVALID_KEY", 404, false},
                                   {ErrorCode::kPayloadTooLarge, "PAYLOAD_TOO_LARGE", 413, false},
                                   {ErrorCode::kRetryLater, "RETRY_LATER", 429, true},
                                   {ErrorCode::kUnlockRequired, "UNLOCK_REQUIRED", 503, true},
                                   {ErrorCode::kUnavailable, "UNAVAILABLE", 503, true},
                                   {ErrorCode::kInternal, "INTERNAL", 500, false}}) {
    const ErrorRow& row = ErrorRowOf(want.code);
    EXPECT_EQ(row.name, want.name);
    EXPECT_EQ(row.http_status, want.http) << want.name;
    EXPECT_EQ(row.retryable, want.retryable) << want.name;
    EXPECT_FALSE(row.message.empty()) << want.name;
  }
}

TEST(Errors, RetryHintsCoverWhatTheyAreToAndNoMore) {
  for (const RetryHint hint : {RetryHint(), RetryHint{7, 7}, RetryHint{0, 1000}}) {
    std::set<std::uint32_t> seen;
    for (std::uint64_t random = 0; random < 2000; ++random) {
      seen.insert(RetryAfterMs(ErrorCode::kRetryLater, hint, random));
    }
    EXPECT_EQ(*seen.begin(), hint.min_ms);
    EXPECT_EQ(*seen.rbegin(), hint.max_ms);
    EXPECT_EQ(seen.size(), hint.max_ms - hint.min_ms + 1);
  }
  EXPECT_EQ(RetryAfterMs(ErrorCode::kInvalidKey, {}, 7), 0u);
}

TEST(Errors, ARetryHintWhoseEndsAreTheWrongWayRoundIsItsMinimum) {
  for (std::uint64_t random : {std::uint64_t{0}, std::uint64_t{7}, ~std::uint64_t{0}}) {
    EXPECT_EQ(RetryAfterMs(ErrorCode::kRetryLater, {.min_ms = 300, .max_ms = 200}, random), 300u);
  }
}

TEST(Errors, AnErrorThatKnowsBetterHintsAtMore) {
  std::set<std::uint32_t> seen;
  for (std::uint64_t random = 0; random < 1000; ++random) {
    seen.insert(RetryAfterMs(Error{ErrorCode::kUnavailable, "", 1000}, {}, random));
  }
  EXPECT_EQ(*seen.begin(), 1000u);
  EXPECT_EQ(*seen.rbegin(), 1500u);
  EXPECT_EQ(RetryAfterMs(Error{ErrorCode::kInternal, "", 1000}, {}, 7), 0u) << "cannot help";
  EXPECT_LE(RetryAfterMs(Error{ErrorCode::kUnavailable, ""}, {}, 7), 200u);
}

TEST(Errors, AFinalUnlockCauseHasAnAnswerOfItsOwnAndALongHint) {
  std::set<std::string_view> messages;
  for (int i = 0; i < kUnlockCauseCount; ++i) {
    const auto cause = static_cast<UnlockCause>(i);
    const ErrorRow& row = ErrorRowOf(ErrorOf(cause));
    EXPECT_EQ(row.name, "UNLOCK_REQUIRED");
    EXPECT_EQ(row.http_status, 503);
    if (IsFinal(cause)) {
      EXPECT_TRUE(messages.insert(row.message).second) << row.message;
      EXPECT_GE(RetryAfterMs(row.code, {}, 0), 30'000u);
    } else {
      EXPECT_EQ(row.code, ErrorCode::kUnlockRequired);
      EXPECT_LE(RetryAfterMs(row.code, {}, ~std::uint64_t{0}), 200u);
    }
  }
}

}  // namespace
}  // namespace bulla
