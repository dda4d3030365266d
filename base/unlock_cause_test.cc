#include "base/unlock_cause.h"

#include <gtest/gtest.h>
#include <set>
#include <vector>

namespace bulla {
namespace {

TEST(UnlockCause, EachTravelsAndHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int i = 0; i < kUnlockCauseCount; ++i) {
    const auto cause = static_cast<UnlockCause>(i);
    EXPECT_TRUE(names.insert(NameOf(cause)).second);
    EXPECT_EQ(DecodeCause(EncodeCause(cause)), cause);
    EXPECT_EQ(CauseOf(WithCause(absl::PermissionDeniedError("x"), cause)), cause);
  }
  for (std::string_view foreign : {"", "access_denie", "access_denied ", "\xff"}) {
    EXPECT_EQ(DecodeCause(foreign), UnlockCause::kOther);
  }
}

// Enclaves and gateways of other versions send them and look for them.
TEST(UnlockCause, TheWordsThatTravelAreWhatTheyWere) {
  std::vector<std::string> words;
  for (int i = 0; i < kUnlockCauseCount; ++i) {
    words.push_back(EncodeCause(static_cast<UnlockCause>(i)));
  }
  EXPECT_EQ(words, (std::vector<std::string>{"other", "unavailable", "throttled", "credentials",
                                             "access_denied", "key_not_found", "key_disabled",
                                             "foreign_ciphertext", "refused"}));
}

TEST(UnlockCause, AStatusWithoutOneIsJudgedByItsCode) {
  EXPECT_EQ(CauseOf(absl::UnavailableError("gone")), UnlockCause::kUnavailable);
  EXPECT_EQ(CauseOf(absl::DeadlineExceededError("late")), UnlockCause::kUnavailable);
  EXPECT_EQ(CauseOf(absl::PermissionDeniedError("no")), UnlockCause::kOther)
      << "only who asked KMS knows that it was KMS";
  EXPECT_TRUE(WithCause(absl::OkStatus(), UnlockCause::kThrottled).ok());
}

}  // namespace
}  // namespace bulla
