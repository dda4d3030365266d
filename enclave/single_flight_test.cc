#include "enclave/single_flight.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

using std::chrono::milliseconds;

const MonotonicTime kStart(std::chrono::hours(1));

SignTask TaskOf(std::uint32_t sequence, MonotonicTime wait_until) {
  return {.item = {.sequence = sequence}, .expires = wait_until, .wait_until = wait_until};
}

std::vector<std::uint32_t> SequencesOf(const std::vector<SignTask>& tasks) {
  std::vector<std::uint32_t> sequences;
  for (const SignTask& task : tasks) sequences.push_back(task.item.sequence);
  return sequences;
}

class SingleFlightTest : public testing::Test {
 protected:
  std::vector<std::uint32_t> Advance(MonotonicTime now) {
    std::vector<SignTask> rehydrate_timeout;
    flights_.Advance(now, rehydrate_timeout);
    return SequencesOf(rehydrate_timeout);
  }

  const KeyId id_ = KeyId::New({});
  SingleFlight flights_{kStart, 3};
};

TEST_F(SingleFlightTest, TheEndGivesBackAllWaitersInTheOrderOfTheirArrival) {
  flights_.Begin(id_, kStart);
  for (std::uint32_t i = 0; i < 3; ++i) flights_.Join(id_, TaskOf(i, kStart + milliseconds(9)));
  EXPECT_EQ(SequencesOf(flights_.End(id_)), (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(flights_.BeganAt(id_), nullptr);
  EXPECT_TRUE(flights_.End(id_).empty());
  EXPECT_TRUE(Advance(kStart + milliseconds(50)).empty()) << "answered twice";
}

TEST_F(SingleFlightTest, AWaiterIsGivenBackBeforeItsWaitIsOverAndNotAgainAtTheEnd) {
  flights_.Begin(id_, kStart);
  flights_.Join(id_, TaskOf(1, kStart + milliseconds(3)));
  flights_.Join(id_, TaskOf(2, kStart + milliseconds(8)));
  EXPECT_TRUE(Advance(kStart + milliseconds(1)).empty());
  EXPECT_EQ(Advance(kStart + milliseconds(3)), std::vector<std::uint32_t>{1});
  EXPECT_EQ(SequencesOf(flights_.End(id_)), std::vector<std::uint32_t>{2});
}

TEST_F(SingleFlightTest, IsFullAtItsBoundAndNotBefore) {
  flights_.Begin(id_, kStart);
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(flights_.full());
    flights_.Join(id_, TaskOf(i, kStart + milliseconds(9)));
  }
  EXPECT_TRUE(flights_.full());
  EXPECT_EQ(flights_.waiters(), 3u);
  flights_.End(id_);
  EXPECT_FALSE(flights_.full());
}

TEST_F(SingleFlightTest, FlightsOfOtherKeysAreTheirOwn) {
  const KeyId other = KeyId::New({});
  flights_.Begin(id_, kStart);
  flights_.Begin(other, kStart + milliseconds(1));
  flights_.Join(other, TaskOf(7, kStart + milliseconds(9)));
  EXPECT_TRUE(flights_.End(id_).empty());
  EXPECT_EQ(*flights_.BeganAt(other), kStart + milliseconds(1));
  EXPECT_EQ(flights_.waiters(), 1u);
}

TEST_F(SingleFlightTest, EndsWithWaitersLeft) {
  flights_.Begin(id_, kStart);
  flights_.Join(id_, TaskOf(1, kStart + milliseconds(3)));
}

}  // namespace
}  // namespace bulla
