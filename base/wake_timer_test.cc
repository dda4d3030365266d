#include "base/wake_timer.h"

#include <atomic>
#include <gtest/gtest.h>

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

class WakeTimerTest : public testing::Test {
 protected:
  // What a test's timer does: counts, and says when it is wanted next.
  MonotonicTime Fire() {
    MutexLock lock(mutex_);
    ++fired_;
    changed_.NotifyAll();
    return next_;
  }
  void WaitForFirings(int count) {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_, [&]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return fired_ >= count; });
  }
  int fired() {
    MutexLock lock(mutex_);
    return fired_;
  }
  void SetNext(MonotonicTime next) {
    MutexLock lock(mutex_);
    next_ = next;
  }

  MonotonicTime Now() const { return clock_.Now(); }

  const RealClock clock_{};
  Mutex mutex_;
  CondVar changed_;
  int fired_ BULLA_GUARDED_BY(mutex_) = 0;
  MonotonicTime next_ BULLA_GUARDED_BY(mutex_) = MonotonicTime::max();
};

TEST_F(WakeTimerTest, FiresWhenItWasAskedToAndNotBefore) {
  WakeTimer timer("timer", clock_, [this] { return Fire(); });
  const MonotonicTime due = Now() + milliseconds(20);
  timer.WakeBy(due);
  WaitForFirings(1);
  EXPECT_GE(Now(), due);
  EXPECT_EQ(fired(), 1);
}

TEST_F(WakeTimerTest, AnEarlierTimeGoesBeforeALaterOne) {
  WakeTimer timer("timer", clock_, [this] { return Fire(); });
  timer.WakeBy(Now() + hours(1));
  timer.WakeBy(Now());
  WaitForFirings(1);
}

TEST_F(WakeTimerTest, FiresAgainWhenItSaysSo) {
  SetNext(Now());
  WakeTimer timer("timer", clock_, [this] { return Fire(); });
  timer.WakeBy(Now());
  WaitForFirings(3);
}

TEST_F(WakeTimerTest, StopsWhileItWaits) {
  WakeTimer timer("timer", clock_, [this] { return Fire(); });
  timer.WakeBy(Now() + hours(1));
  timer.Stop();
  timer.Stop();
  EXPECT_EQ(fired(), 0);
}

}  // namespace
}  // namespace bulla
