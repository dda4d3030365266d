#include "gateway/link/concurrency_limit.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <vector>

namespace bulla {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// An enclave that answers `capacity` signatures a second in frames, one frame after the other, as
// a link would ask it: in simulated time, in steps of half a millisecond.
class SimulatedLink {
 public:
  struct Figures {
    std::size_t asked = 0;
    std::size_t refused = 0;
    std::vector<Duration> latencies;  // of what was answered
    Duration Quantile(double share) {
      std::sort(latencies.begin(), latencies.end());
      return latencies.empty() ? Duration(0)
                               : latencies[static_cast<std::size_t>(
                                     share * static_cast<double>(latencies.size() - 1))];
    }
  };
  static constexpr Duration kStep = microseconds(500);
  static constexpr std::size_t kFrame = 32;

  explicit SimulatedLink(double capacity) : capacity_(capacity) {}

  // Asks for `rate` signatures a second for `time`.
  Figures Run(double rate, Duration time) {
    Figures figures;
    for (const MonotonicTime end = now_ + time; now_ < end; now_ += kStep) {
      due_ += rate * Seconds(kStep);
      const auto asked = static_cast<std::size_t>(due_);
      due_ -= static_cast<double>(asked);
      Ask(asked, figures);
      if (now_ >= stalled_until_) Work(figures);
    }
    return figures;
  }
  void Ask(std::size_t asked, Figures& figures) {
    const std::size_t admitted = asked == 0 ? 0 : limit.Admit(asked, queue_.size(), now_);
    queue_.insert(queue_.end(), admitted, now_);
    figures.asked += asked;
    figures.refused += asked - admitted;
  }
  // The same of so many callers, each of whom asks again when he is answered.
  Figures RunClosed(std::size_t callers, Duration time) {
    Figures figures;
    for (const MonotonicTime end = now_ + time; now_ < end; now_ += kStep) {
      Ask(callers - std::min(callers, queue_.size()), figures);
      if (now_ >= stalled_until_) Work(figures);
    }
    return figures;
  }
  // The host takes the CPU away.
  void Stall(Duration time) { stalled_until_ = now_ + time; }
  void SetCapacity(double capacity) { capacity_ = capacity; }

 private:
  static double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

  void Work(Figures& figures) {
    done_ = queue_.empty() ? 0 : done_ + capacity_ * Seconds(kStep);
    while (!queue_.empty()) {
      const std::size_t frame = std::min(kFrame, queue_.size());
      if (done_ < static_cast<double>(frame)) return;
      done_ -= static_cast<double>(frame);
      const MonotonicTime oldest = queue_.front();
      for (std::size_t i = 0; i < frame; ++i) {
        figures.latencies.push_back(now_ - queue_.front());
        queue_.pop_front();
      }
      limit.OnAnswered(frame, oldest, queue_.size(), now_);
    }
  }

  double capacity_;
  double due_ = 0;
  double done_ = 0;
  MonotonicTime now_{std::chrono::hours(1)};
  MonotonicTime stalled_until_;
  std::deque<MonotonicTime> queue_;  // since when they wait

 public:
  ConcurrencyLimit limit{{.wait_max = milliseconds(30)}};
};

constexpr double kCapacities[] = {3000, 10'000, 40'000, 100'000};

TEST(ConcurrencyLimit, UnderTwiceTheCapacityItComesToRestAtWhatFits) {
  for (const double capacity : kCapacities) {
    SCOPED_TRACE(capacity);
    SimulatedLink link(capacity);
    link.Run(2 * capacity, seconds(1));
    SimulatedLink::Figures figures = link.Run(2 * capacity, seconds(10));
    EXPECT_GT(figures.latencies.size(), 0.95 * capacity * 10) << "throughput";
    EXPECT_LT(figures.Quantile(0.5), milliseconds(36));
    EXPECT_LT(figures.Quantile(0.99), milliseconds(45));
    const double fits = std::max(64.0, capacity * 0.03);
    EXPECT_NEAR(static_cast<double>(link.limit.limit()), fits, 0.35 * fits);
  }
}

TEST(ConcurrencyLimit, FromItsMaximumItFindsWhatFitsWithinASecond) {
  SimulatedLink link(5000);
  link.Run(10'000, milliseconds(900));
  SimulatedLink::Figures figures = link.Run(10'000, milliseconds(100));
  EXPECT_LT(figures.Quantile(0.99), milliseconds(60));
}

TEST(ConcurrencyLimit, WhatCanBeDoneIsNotRefused) {
  for (const double capacity : kCapacities) {
    SCOPED_TRACE(capacity);
    SimulatedLink link(capacity);
    EXPECT_EQ(link.Run(0.9 * capacity, seconds(10)).refused, 0u);
    EXPECT_EQ(link.limit.limit(), 4096u);
  }
}

TEST(ConcurrencyLimit, WithinASecondAfterOverloadNothingIsRefused) {
  for (const double capacity : kCapacities) {
    SCOPED_TRACE(capacity);
    SimulatedLink link(capacity);
    EXPECT_GT(link.Run(2 * capacity, seconds(5)).refused, 0u);
    link.Run(0.7 * capacity, seconds(1));
    EXPECT_EQ(link.limit.limit(), 4096u) << "and a burst has room again";
    EXPECT_EQ(link.Run(0.9 * capacity, seconds(5)).refused, 0u);
  }
}

TEST(ConcurrencyLimit, AnEnclaveThatBecomesSlowIsAskedForLess) {
  SimulatedLink link(20'000);
  link.Run(10'000, seconds(5));
  link.SetCapacity(5000);
  link.Run(10'000, seconds(2));
  SimulatedLink::Figures figures = link.Run(10'000, seconds(2));
  EXPECT_GT(figures.latencies.size(), 0.95 * 5000 * 2);
  EXPECT_LT(figures.Quantile(0.99), milliseconds(45));
}

TEST(ConcurrencyLimit, ABurstAfterQuietIsTakenWhole) {
  SimulatedLink link(3000);
  link.Run(6000, seconds(3));
  ASSERT_LT(link.limit.limit(), 500u);
  link.Run(0, seconds(1));
  SimulatedLink::Figures figures;
  link.Ask(500, figures);
  EXPECT_EQ(figures.refused, 0u);
}

TEST(ConcurrencyLimit, AHostThatTakesTheCpuAwayForAMomentIsNotOverload) {
  SimulatedLink link(10'000);
  std::size_t refused = 0;
  for (int i = 0; i < 40; ++i) {
    link.Stall(milliseconds(10 * i));
    refused += link.Run(5000, seconds(1)).refused;
  }
  EXPECT_EQ(refused, 0u);
}

TEST(ConcurrencyLimit, NorIsItForManyCallersWhoWaitForTheirAnswers) {
  SimulatedLink link(20'000);
  std::size_t refused = 0;
  for (int i = 0; i < 40; ++i) {
    link.Stall(milliseconds(10 * i));
    refused += link.RunClosed(500, milliseconds(500)).refused;
  }
  EXPECT_EQ(refused, 0u);
}

TEST(ConcurrencyLimit, OneThatStallsAllTheTimeIsSlow) {
  SimulatedLink link(20'000);
  SimulatedLink::Figures figures;
  for (int i = 0; i < 100; ++i) {
    link.Stall(milliseconds(30));
    figures = link.Run(20'000, milliseconds(60));
  }
  EXPECT_LT(link.limit.limit(), 1000u);
  EXPECT_LT(figures.Quantile(0.99), milliseconds(120));
}

TEST(ConcurrencyLimit, FewThatTakeLongAreNotAQueue) {
  ConcurrencyLimit limit({});
  MonotonicTime now{std::chrono::hours(1)};
  for (int i = 0; i < 100; ++i, now += milliseconds(50)) {
    EXPECT_EQ(limit.Admit(ConcurrencyLimit::kFloor, 0, now), ConcurrencyLimit::kFloor);
    limit.OnAnswered(ConcurrencyLimit::kFloor - 1, now - milliseconds(45), 1, now);
  }
  EXPECT_EQ(limit.limit(), 4096u);
}

TEST(ConcurrencyLimit, AdmitsUpToItsLimitAndNotOneMore) {
  ConcurrencyLimit limit({.max = 100});
  const MonotonicTime now{std::chrono::hours(1)};
  EXPECT_EQ(limit.Admit(1, 99, now), 1u);
  EXPECT_EQ(limit.Admit(2, 99, now), 1u);
  EXPECT_EQ(limit.Admit(1, 100, now), 0u);
  EXPECT_EQ(limit.Admit(1, 1000, now), 0u) << "also when it is over it, from before it shrank";
  EXPECT_EQ(limit.Admit(0, 0, now), 0u);
}

}  // namespace
}  // namespace bulla
