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

}  // namespace
}  // namespace bulla
