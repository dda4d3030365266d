#include "gateway/link/sign_batcher.h"

#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <vector>

#include "base/random.h"

namespace bulla {
namespace {

using std::chrono::microseconds;

struct Call final : SignCall {};

std::size_t Count(const SignCall* first) {
  std::size_t count = 0;
  for (; first != nullptr; first = first->next) ++count;
  return count;
}

class SignBatcherTest : public testing::Test {
 protected:
  void Add(SignBatcher& batcher, int count) {
    for (int i = 0; i < count; ++i) {
      calls_.push_back(std::make_unique<Call>());
      batcher.Add(calls_.back().get(), now_);
    }
  }
  std::size_t Take(SignBatcher& batcher) { return Count(batcher.Take(now_)); }

  const SignBatcher::Options options_{.size_max = 4, .wait_max = microseconds(1000)};
  MonotonicTime now_{};
  std::vector<std::unique_ptr<Call>> calls_;
};

TEST_F(SignBatcherTest, AnIdleEnclaveGetsWhatThereIsAtOnce) {
  SignBatcher batcher(options_);
  EXPECT_EQ(Take(batcher), 0u);
  Add(batcher, 1);
  EXPECT_EQ(Take(batcher), 1u);
  batcher.Answered(1);
  Add(batcher, 2);
  EXPECT_EQ(Take(batcher), 2u);
  EXPECT_EQ(Take(batcher), 0u);
  EXPECT_FALSE(batcher.waiting());
}

TEST_F(SignBatcherTest, ABusyOneGetsWhatGathersWhenItsWorkIsDone) {
  SignBatcher batcher(options_);
  batcher.Sent(2);
  Add(batcher, 2);
  EXPECT_EQ(Take(batcher), 0u);
  EXPECT_TRUE(batcher.waiting());
  batcher.Answered(1);
  EXPECT_EQ(Take(batcher), 0u);
  batcher.Answered(1);
  EXPECT_EQ(Take(batcher), 2u);
}

// From a frame of three on, what arrives is gathered also when nothing is away; a frame of one ends
// that.
TEST_F(SignBatcherTest, UnderLoadFramesGather) {
  SignBatcher batcher(options_);
  batcher.Sent(1);
  Add(batcher, 3);
  batcher.Answered(1);
  EXPECT_EQ(Take(batcher), 3u);
  batcher.Answered(3);
  Add(batcher, 1);
  EXPECT_EQ(Take(batcher), 0u);
  EXPECT_EQ(batcher.due_at(), now_ + options_.wait_max);
  now_ += options_.wait_max;
  EXPECT_EQ(Take(batcher), 1u);
  batcher.Answered(1);
  Add(batcher, 1);
  EXPECT_EQ(Take(batcher), 1u) << "the load is over";
}

TEST_F(SignBatcherTest, OneAtATimeNeverWaits) {
  SignBatcher batcher(options_);
  for (int i = 0; i < 100; ++i) {
    Add(batcher, 1);
    ASSERT_EQ(Take(batcher), 1u);
    batcher.Answered(1);
  }
}

TEST_F(SignBatcherTest, AFullFrameLeaves) {
  SignBatcher batcher(options_);
  batcher.Sent(10);
  Add(batcher, 9);
  EXPECT_EQ(Take(batcher), 4u);
  EXPECT_EQ(Take(batcher), 4u);
  EXPECT_EQ(Take(batcher), 0u);
  EXPECT_TRUE(batcher.waiting());
}

// With a frame's worth away what gathers may wait longer, but not for ever; and with less again,
// from when it began to wait.
TEST_F(SignBatcherTest, BehindAFramesWorthOfWorkFramesGrow) {
  SignBatcher batcher(options_);
  batcher.Sent(4);
  Add(batcher, 1);
  const Duration longest = SignBatcher::kBusyWaits * options_.wait_max;
  now_ += microseconds(1000);
  Add(batcher, 1);
  EXPECT_EQ(Take(batcher), 0u);
  EXPECT_EQ(batcher.due_at(), now_ + longest - microseconds(1000));
  batcher.Answered(1);
  EXPECT_EQ(batcher.due_at(), now_);
  EXPECT_EQ(Take(batcher), 2u);
  Add(batcher, 1);
  now_ += longest - microseconds(1);
  EXPECT_EQ(Take(batcher), 0u);
  now_ += microseconds(1);
  EXPECT_EQ(Take(batcher), 1u);
}

TEST_F(SignBatcherTest, NothingWaitsForLongerThanItMay) {
  SignBatcher batcher(options_);
  batcher.Sent(3);
  Add(batcher, 1);
  now_ += microseconds(999);
  Add(batcher, 1);
  EXPECT_EQ(Take(batcher), 0u);
  now_ += microseconds(1);
  EXPECT_EQ(Take(batcher), 2u);
}

TEST_F(SignBatcherTest, OneThatMayNotWaitTakesTheOthersAlong) {
  SignBatcher batcher(options_);
  batcher.Sent(10);
  Add(batcher, 2);
  Call hurried;
  hurried.no_wait = true;
  batcher.Add(&hurried, now_);
  EXPECT_EQ(Take(batcher), 3u);
  Add(batcher, 1);
  EXPECT_EQ(Take(batcher), 0u) << "it left with the others, and hurries nobody any more";
}

TEST_F(SignBatcherTest, WithFramesOfOneEachTravelsAlone) {
  SignBatcher batcher({.size_max = 1});
  batcher.Sent(10);
  Add(batcher, 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Take(batcher), 1u);
}

TEST_F(SignBatcherTest, WhatIsGivenUpIsForgotten) {
  SignBatcher batcher(options_);
  batcher.Sent(10);
  Add(batcher, 3);
  EXPECT_EQ(Count(batcher.TakeAll()), 3u);
  EXPECT_FALSE(batcher.waiting());
  now_ += microseconds(5000);
  EXPECT_EQ(Take(batcher), 0u);
}

TEST_F(SignBatcherTest, WhatIsPastItsDeadlineIsGivenUpAndTheRestGoesOnWaiting) {
  SignBatcher batcher(options_);
  batcher.Sent(10);
  Add(batcher, 3);
  for (std::size_t i = 0; i < 3; ++i) calls_[i]->deadline = now_ + microseconds(i == 1 ? 5 : 6);
  now_ += microseconds(5);
  const SignBatcher::Expired expired = batcher.TakeExpired(now_);
  EXPECT_EQ(expired.first, calls_[1].get());
  EXPECT_EQ(expired.count, 1u);
  EXPECT_EQ(batcher.TakeExpired(now_).count, 0u);
  EXPECT_EQ(batcher.outstanding(), 12u);
  now_ += microseconds(19'995);  // 20 ms after they came
  EXPECT_EQ(Take(batcher), 2u);
}

TEST_F(SignBatcherTest, OneThatMayNotWaitAndIsGivenUpHurriesNobody) {
  SignBatcher batcher(options_);
  batcher.Sent(2);
  for (const bool no_wait : {true, false}) {
    calls_.push_back(std::make_unique<Call>());
    calls_.back()->no_wait = no_wait;
    calls_.back()->deadline = now_ + microseconds(no_wait ? 1 : 900);
    batcher.Add(calls_.back().get(), now_);
  }
  now_ += microseconds(1);
  EXPECT_EQ(batcher.TakeExpired(now_).count, 1u);
  EXPECT_EQ(Take(batcher), 0u);
}

// Thousands of steps at random: each call leaves once, in the order of arrival, in frames of at
// most size_max; after each Take() that gives nothing, what is left may wait.
TEST_F(SignBatcherTest, EveryCallLeavesOnceAndInTime) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  const std::uint64_t seed = seed_text == nullptr ? RandomUint64() : std::stoull(seed_text);
  SCOPED_TRACE(fmt::format("BULLA_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  SignBatcher batcher(options_);
  std::vector<std::pair<Call*, MonotonicTime>> waiting;
  std::size_t in_flight = 0;
  std::size_t last_frame = 0;
  for (int step = 0; step < 20'000; ++step) {
    now_ += microseconds(random() % 400);
    if (random() % 2 == 0) {
      calls_.push_back(std::make_unique<Call>());
      calls_.back()->no_wait = random() % 20 == 0;
      batcher.Add(calls_.back().get(), now_);
      waiting.emplace_back(calls_.back().get(), now_);
    } else {
      std::size_t answered = random() % (in_flight + 1);
      batcher.Answered(answered);
      in_flight -= answered;
    }
    while (SignCall* frame = batcher.Take(now_)) {
      last_frame = Count(frame);
      ASSERT_LE(last_frame, options_.size_max);
      for (; frame != nullptr; frame = frame->next) {
        ASSERT_FALSE(waiting.empty());
        ASSERT_EQ(frame, waiting.front().first);
        waiting.erase(waiting.begin());
        ++in_flight;
      }
    }
    ASSERT_EQ(batcher.waiting(), !waiting.empty());
    if (waiting.empty()) continue;
    ASSERT_LT(waiting.size(), options_.size_max);
    ASSERT_TRUE(in_flight > 0 || last_frame > 1) << "nothing to wait for";
    for (const auto& [call, since] : waiting) {
      ASSERT_FALSE(call->no_wait);
      const bool busy = in_flight >= options_.size_max;
      ASSERT_LT(now_ - since, (busy ? SignBatcher::kBusyWaits : 1) * options_.wait_max);
    }
  }
}

}  // namespace
}  // namespace bulla
