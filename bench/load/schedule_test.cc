#include "bench/load/schedule.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::uint64_t kMany = 1'000'000;
const MonotonicTime kStart{hours(1000)};

SchedulePlan Open(double rate, Duration warm_up, Duration measured) {
  return {.rate_per_s = rate, .warm_up = warm_up, .measured = measured, .requests_max = kMany};
}

SchedulePlan Closed(Duration warm_up, Duration measured) { return Open(0, warm_up, measured); }

TEST(Schedule, OpenLoopIsDueAtEvenSteps) {
  Schedule schedule(Open(100, seconds(0), seconds(1)), kStart);
  for (int i = 0; i < 100; ++i) {
    MonotonicTime due = kStart + milliseconds(10 * i);
    EXPECT_LE(schedule.next_due(), due);
    EXPECT_GT(schedule.next_due(), due - microseconds(1));
    if (i > 0) {
      EXPECT_FALSE(schedule.Take(due - microseconds(1)));
    }
    auto request = schedule.Take(due);
    ASSERT_TRUE(request);
    EXPECT_EQ(request->index, static_cast<std::uint64_t>(i));
    EXPECT_TRUE(request->measured);
  }
  EXPECT_FALSE(schedule.Take(kStart + hours(1)));
  EXPECT_EQ(schedule.next_due(), MonotonicTime::max());
  EXPECT_TRUE(schedule.Ended(kStart));
  EXPECT_EQ(schedule.MeasuredLeft(), 0u);
}

TEST(Schedule, WhatIsTakenLateWasStillDueInTime) {
  Schedule schedule(Open(1000, seconds(0), seconds(1)), kStart);
  MonotonicTime late = kStart + milliseconds(500) + microseconds(500);
  int taken = 0;
  while (auto request = schedule.Take(late)) {
    EXPECT_LE(request->due, kStart + milliseconds(taken));
    EXPECT_GT(request->due, kStart + milliseconds(taken) - microseconds(1));
    ++taken;
  }
  EXPECT_EQ(taken, 501);
}

TEST(Schedule, OpenLoopEndsWithAllTakenAndCountsTheRest) {
  Schedule schedule(Open(100, seconds(1), seconds(2)), kStart);
  EXPECT_EQ(schedule.MeasuredLeft(), 200u);
  for (int i = 0; i < 150; ++i) {
    auto request = schedule.Take(kStart + hours(1));
    ASSERT_TRUE(request);
    EXPECT_EQ(request->measured, i >= 100);
  }
  EXPECT_EQ(schedule.MeasuredLeft(), 150u);
  EXPECT_FALSE(schedule.Ended(kStart + hours(1)));
  while (schedule.Take(kStart + hours(1))) continue;
  EXPECT_EQ(schedule.MeasuredLeft(), 0u);
}

TEST(Schedule, TheFirstMeasuredRequestIsDueAtTheEndOfTheWarmUp) {
  // 7 a second and 1.5 s: 10.5 requests of warm-up.
  Schedule schedule(Open(7, milliseconds(1500), seconds(1)), kStart);
  std::uint64_t warm_up = 0;
  std::uint64_t measured = 0;
  while (auto request = schedule.Take(kStart + hours(1))) {
    if (request->measured && measured++ == 0) {
      EXPECT_EQ(request->due, schedule.measured_from());
    }
    if (!request->measured) ++warm_up;
  }
  EXPECT_EQ(warm_up, 11u);
  EXPECT_EQ(measured, 7u);
}

TEST(Schedule, DoesNotDriftOverADay) {
  SchedulePlan plan = Open(30'000, seconds(0), hours(24));
  plan.requests_max = 30'000ull * 86'400;
  EXPECT_EQ(Schedule::DueWithin(30'000, hours(24)), plan.requests_max);
  EXPECT_EQ(Schedule(plan, kStart).MeasuredLeft(), plan.requests_max);
  EXPECT_EQ(Schedule::DueWithin(70, milliseconds(100)), 7u);
  EXPECT_EQ(Schedule::DueWithin(200, seconds(2)), 400u);
  EXPECT_EQ(Schedule::DueWithin(200, seconds(0)), 0u);
}

TEST(Schedule, ClosedLoopIsDueWhenAsked) {
  Schedule schedule(Closed(seconds(1), seconds(2)), kStart);
  EXPECT_LE(schedule.next_due(), kStart);
  MonotonicTime last_of_warm_up = kStart + seconds(1) - nanoseconds(1);
  auto request = schedule.Take(last_of_warm_up);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->due, last_of_warm_up);
  EXPECT_FALSE(request->measured);
  request = schedule.Take(kStart + seconds(1));
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->measured);
  EXPECT_EQ(request->index, 1u);
  EXPECT_TRUE(schedule.Take(schedule.end() - nanoseconds(1)));
  EXPECT_FALSE(schedule.Ended(schedule.end() - nanoseconds(1)));
  EXPECT_FALSE(schedule.Take(schedule.end()));
  EXPECT_TRUE(schedule.Ended(schedule.end()));
  EXPECT_EQ(schedule.MeasuredLeft(), 0u);
}

TEST(Schedule, EndsAtTheMostRequestsThereMayBe) {
  for (double rate : {0.0, 100.0}) {
    SchedulePlan plan = Open(rate, seconds(0), seconds(10));
    plan.requests_max = 3;
    Schedule schedule(plan, kStart);
    MonotonicTime now = kStart + seconds(9);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(schedule.Take(now));
    EXPECT_FALSE(schedule.Take(now));
    EXPECT_TRUE(schedule.Ended(now));
  }
}

}  // namespace
}  // namespace bulla
