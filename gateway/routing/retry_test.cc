#include "gateway/routing/retry.h"

#include <gtest/gtest.h>
#include <memory>
#include <vector>

namespace bulla {
namespace {

using std::chrono::milliseconds;

struct TestCall final : SignCall {};

struct TestMember {
  std::uint32_t number = 0;
  bool usable = true;
  bool takes = true;
  bool holds = true;
  std::uint32_t id() const { return number; }
  bool available() const { return usable; }
  bool TryAdmit() { return takes; }
};

// Members 1 to 4, in the order in which the call's key asks for them.
class RetryTest : public testing::Test {
 protected:
  RetrySettings settings_;

  RetryTest() {
    call_.key_id = KeyId::New({});
    call_.deadline = now_ + std::chrono::seconds(1);
    for (std::size_t i = 0; i < 4; ++i) members_.push_back(std::make_unique<TestMember>());
    std::uint32_t number = 0;
    ring_.Find(call_.key_id, [&](std::size_t index) {
      members_[index]->number = ++number;
      return false;
    });
  }
  TestMember& Member(std::uint32_t number) {
    return **std::ranges::find(members_, number, [](const auto& member) { return member->number; });
  }
  // The number of the member to ask; 0: none.
  std::uint32_t Another(std::uint32_t from, RetryReason reason) {
    std::optional<std::size_t> index =
        FindRetryTarget(ring_, members_, call_, from, reason,
                        [](const TestMember& member) { return member.holds; });
    return index ? members_[*index]->number : 0;
  }

  MonotonicTime now_{std::chrono::hours(1)};
  const HashRing ring_{{{"a", 100}, {"b", 100}, {"c", 100}, {"d", 100}}};
  std::vector<std::unique_ptr<TestMember>> members_;
  TestCall call_;
};

TEST_F(RetryTest, WhatIsLostGoesToTheNextThatTakesIt) {
  EXPECT_EQ(Another(1, RetryReason::kLost), 2u);
  EXPECT_EQ(Another(2, RetryReason::kLost), 1u);
  Member(2).takes = false;
  EXPECT_EQ(Another(1, RetryReason::kLost), 3u);
}

TEST_F(RetryTest, WhoHasNotAnsweredBeforeIsNotAskedAgain) {
  CountRetry(call_, settings_, 1, now_);
  EXPECT_EQ(Another(2, RetryReason::kLost), 3u);
}

TEST_F(RetryTest, WhatOnlyAStreamHasLostGoesBackWhenThereIsNobodyElse) {
  for (std::uint32_t number : {2u, 3u, 4u}) Member(number).takes = Member(number).usable = false;
  EXPECT_EQ(Another(1, RetryReason::kLost), 1u);
  Member(1).usable = false;
  EXPECT_EQ(Another(1, RetryReason::kLost), 0u);
}

TEST_F(RetryTest, WithoutItsDekItGoesOnlyWhereThatIsOpen) {
  Member(2).holds = false;
  EXPECT_EQ(Another(1, RetryReason::kNoDek), 3u);
  Member(3).holds = Member(4).holds = false;
  EXPECT_EQ(Another(1, RetryReason::kNoDek), 0u);
}

TEST_F(RetryTest, AKeyThatIsBeingOpenedIsAskedForInTheSamePlace) {
  EXPECT_EQ(Another(2, RetryReason::kRehydrateTimeout), 2u);
  Member(2).takes = false;
  EXPECT_EQ(Another(2, RetryReason::kRehydrateTimeout), 0u);
}

TEST_F(RetryTest, TwiceAndNotForLong) {
  const MonotonicTime end = now_ + settings_.timeout.Get();
  for (std::uint32_t from : {1u, 2u}) {
    EXPECT_TRUE(MayRetry(call_, settings_, now_));
    CountRetry(call_, settings_, from, now_);
    EXPECT_EQ(call_.deadline, end) << "from the first one on";
    now_ += milliseconds(1);
  }
  EXPECT_FALSE(MayRetry(call_, settings_, now_));
}

TEST_F(RetryTest, NothingIsRepeatedAfterItsDeadlineNorMadeToLiveLonger) {
  call_.deadline = now_ + milliseconds(1);
  CountRetry(call_, settings_, 1, now_);
  EXPECT_EQ(call_.deadline, now_ + milliseconds(1));
  EXPECT_FALSE(MayRetry(call_, settings_, call_.deadline));
}

TEST_F(RetryTest, HowOftenAndForHowLongIsWhatTheSettingsSayNow) {
  EXPECT_TRUE(MayRetry(call_, settings_, now_));
  settings_.count_max = 0;
  EXPECT_FALSE(MayRetry(call_, settings_, now_));
  settings_.count_max = 1;
  settings_.timeout = milliseconds(5);
  CountRetry(call_, settings_, 1, now_);
  EXPECT_FALSE(MayRetry(call_, settings_, now_));
  settings_.count_max = 2;
  EXPECT_TRUE(MayRetry(call_, settings_, now_));
  EXPECT_EQ(call_.deadline, now_ + milliseconds(5));
}

}  // namespace
}  // namespace bulla
