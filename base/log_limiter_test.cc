#include "base/log_limiter.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

using std::chrono::seconds;

TEST(LogLimiter, ABurstIsWrittenWhole) {
  LogLimiter limiter;
  for (std::uint32_t i = 0; i < LogLimiter::kBurst; ++i) {
    EXPECT_EQ(limiter.Admit("a", MonotonicTime()), 0u);
  }
  EXPECT_EQ(limiter.Admit("a", MonotonicTime()), std::nullopt);
  EXPECT_EQ(limiter.Admit("b", MonotonicTime()), 0u) << "another event has its own";
}

TEST(LogLimiter, WhatGoesOnIsALineASecondThatSaysHowManyItStandsFor) {
  LogLimiter limiter;
  MonotonicTime now;
  int written = 0;
  std::uint64_t left_out = 0;
  constexpr int kEachSecond = 10'000;
  for (int second = 0; second < 100; ++second, now += seconds(1)) {
    for (int i = 0; i < kEachSecond; ++i) {
      if (std::optional<std::uint64_t> before = limiter.Admit("a", now)) {
        ++written;
        left_out += *before;
      }
    }
  }
  EXPECT_EQ(written, static_cast<int>(LogLimiter::kBurst) + 99);
  // All but what was left out behind the last line.
  EXPECT_EQ(left_out + static_cast<std::uint64_t>(written), 99u * kEachSecond + 1);
}

TEST(LogLimiter, QuietBringsTheBurstBackAndNoMore) {
  LogLimiter limiter;
  MonotonicTime now;
  while (limiter.Admit("a", now)) continue;
  now += std::chrono::hours(24 * 365);
  std::uint32_t written = 0;
  while (limiter.Admit("a", now)) ++written;
  EXPECT_EQ(written, LogLimiter::kBurst);
}

TEST(LogLimiter, AMillionNamesTakeNoMoreRoomThanAFew) {
  LogLimiter limiter;
  std::uint32_t written = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    if (limiter.Admit(std::to_string(i), MonotonicTime())) ++written;
  }
  EXPECT_EQ(written, LogLimiter::kEventsMax + LogLimiter::kBurst);
}

}  // namespace
}  // namespace bulla
