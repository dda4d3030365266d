#include "gateway/routing/coalescing_fetch.h"

#include <array>
#include <gtest/gtest.h>

namespace bulla {
namespace {

struct TestCall final : SignCall {};
using Next = CoalescingFetch::Next;

class CoalescingFetchTest : public testing::Test {
 protected:
  CoalescingFetchTest() {
    for (TestCall& call : calls_) call.key_id = key_id_;
  }
  Next Ask(std::size_t call, std::uint32_t enclave = 1) {
    return loads_.Ask(enclave, &calls_[call], now_);
  }

  const KeyId key_id_ = KeyId::New({});
  std::array<TestCall, 4> calls_;
  CoalescingFetch loads_;
  MonotonicTime now_{std::chrono::seconds(1)};
};

TEST_F(CoalescingFetchTest, ManyThatWantOneBlobFetchItOnceAndLeaveTogetherInOrder) {
  EXPECT_EQ(Ask(0), Next::kFetch);
  EXPECT_EQ(Ask(1), Next::kWait);
  EXPECT_EQ(Ask(2), Next::kWait);
  SignCall* first = loads_.TakeWaiting(1, key_id_, /*found=*/true, now_);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(PopFirst(first), &calls_[i]);
  EXPECT_EQ(first, nullptr);
}

TEST_F(CoalescingFetchTest, WhoComesWhileItIsOnItsWayIsSentAgainWithoutIt) {
  Ask(0);
  loads_.TakeWaiting(1, key_id_, true, now_);
  EXPECT_EQ(Ask(1), Next::kRepeat);
  now_ += CoalescingFetch::kUnderWay;
  EXPECT_EQ(Ask(1), Next::kFetch) << "it must have been dropped again";
}

TEST_F(CoalescingFetchTest, WhoIsFasterThanTheBlobAgainAndAgainWaitsForTheNextTick) {
  Ask(0);
  loads_.TakeWaiting(1, key_id_, true, now_);
  for (int i = 0; i < CoalescingFetch::kFollowsAtOnceMax; ++i) EXPECT_EQ(Ask(1), Next::kRepeat);
  EXPECT_EQ(Ask(1), Next::kLater);
  EXPECT_EQ(Ask(1), Next::kLater);
  EXPECT_EQ(Ask(2), Next::kRepeat) << "another call";
}

TEST_F(CoalescingFetchTest, AnEnclaveThatDoesNotKeepTheBlobIsGivenUp) {
  for (int i = 0; i < CoalescingFetch::kLoadsMax; ++i) {
    EXPECT_EQ(Ask(0), Next::kFetch);
    loads_.TakeWaiting(1, key_id_, true, now_);
    loads_.Dropped(1, key_id_);
  }
  EXPECT_EQ(Ask(0), Next::kGiveUp);
  EXPECT_EQ(Ask(1), Next::kFetch) << "another call";
}

TEST_F(CoalescingFetchTest, EnclavesAndKeysAreApart) {
  EXPECT_EQ(Ask(0, 1), Next::kFetch);
  EXPECT_EQ(Ask(1, 2), Next::kFetch);
  calls_[2].key_id = KeyId::New({});
  EXPECT_EQ(Ask(2, 1), Next::kFetch);
}

TEST_F(CoalescingFetchTest, WhatIsNotFoundIsForgotten) {
  Ask(0);
  EXPECT_EQ(loads_.TakeWaiting(1, key_id_, /*found=*/false, now_), &calls_[0]);
  EXPECT_EQ(loads_.size(), 0u);
  EXPECT_EQ(Ask(1), Next::kFetch);
}

TEST_F(CoalescingFetchTest, WhatTheEnclaveDidNotKeepIsFetchedAgainAtOnce) {
  Ask(0);
  loads_.Dropped(1, key_id_);
  EXPECT_EQ(Ask(1), Next::kWait) << "that one has not left yet";
  loads_.TakeWaiting(1, key_id_, true, now_);
  loads_.Dropped(1, key_id_);
  EXPECT_EQ(Ask(2), Next::kFetch);
}

TEST_F(CoalescingFetchTest, WhatHasArrivedIsPrunedAndWhatIsFetchedIsNot) {
  Ask(0, 1);
  Ask(1, 2);
  loads_.TakeWaiting(1, key_id_, true, now_);
  loads_.Prune(now_);
  EXPECT_EQ(loads_.size(), 2u);
  now_ += CoalescingFetch::kUnderWay;
  loads_.Prune(now_);
  EXPECT_EQ(loads_.size(), 1u);
  EXPECT_EQ(Ask(2, 2), Next::kWait);
}

TEST_F(CoalescingFetchTest, WhoWaitsPastItsDeadlineIsGivenBackThoughTheFetchGoesOn) {
  calls_[0].deadline = now_;
  calls_[1].deadline = now_ + std::chrono::nanoseconds(1);
  Ask(0);
  Ask(1);
  SignCall* expired = loads_.TakeExpired(now_);
  EXPECT_EQ(expired, &calls_[0]);
  EXPECT_EQ(expired->next, nullptr);
  EXPECT_EQ(loads_.TakeExpired(now_), nullptr);
  EXPECT_EQ(Ask(2), Next::kWait);
  SignCall* first = loads_.TakeWaiting(1, key_id_, true, now_);
  EXPECT_EQ(PopFirst(first), &calls_[1]);
  EXPECT_EQ(first, &calls_[2]);
}

TEST_F(CoalescingFetchTest, ABlobForWhichNobodyWaitsAnyMoreIsNotOnItsWay) {
  calls_[0].deadline = now_;
  Ask(0);
  loads_.TakeExpired(now_);
  EXPECT_EQ(loads_.TakeWaiting(1, key_id_, true, now_), nullptr);
  EXPECT_EQ(Ask(1), Next::kFetch);
}

}  // namespace
}  // namespace bulla
