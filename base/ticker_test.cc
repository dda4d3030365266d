#include "base/ticker.h"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>

namespace bulla {
namespace {

TEST(Ticker, TicksUntilItIsStoppedAndNeverAfter) {
  std::atomic<int> ticks{0};
  Ticker ticker("ticker", std::chrono::milliseconds(1), [&] { ++ticks; });
  while (ticks < 3) std::this_thread::yield();
  ticker.Stop();
  int at_stop = ticks;
  ticker.Stop();
  EXPECT_EQ(ticks, at_stop);
}

// With a long pause that would outlast the test's patience.
TEST(Ticker, HurriedItTicksForAsLongAsTheTickSaysSo) {
  std::atomic<int> ticks{0};
  std::atomic<int> wanted{3};
  Ticker ticker("test", std::chrono::hours(1), std::chrono::milliseconds(1), [&] {
    ticks.fetch_add(1);
    return ticks < wanted;
  });
  EXPECT_EQ(ticks, 0);
  ticker.Hurry();
  while (ticks < 3) std::this_thread::yield();
  wanted = 5;
  ticker.Hurry();
  while (ticks < 5) std::this_thread::yield();
  ticker.Stop();
  EXPECT_EQ(ticks, 5);
}

TEST(Ticker, NoHurryIsLostWhateverTheThreadIsAt) {
  std::atomic<int> ticks{0};
  Ticker ticker("test", std::chrono::hours(1), std::chrono::milliseconds(1), [&] {
    ticks.fetch_add(1);
    return false;
  });
  for (int i = 0; i < 200; ++i) {
    const int before = ticks;
    ticker.Hurry();
    while (ticks == before) std::this_thread::yield();
  }
}

}  // namespace
}  // namespace bulla
