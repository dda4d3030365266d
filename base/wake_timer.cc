#include "base/wake_timer.h"

#include <algorithm>
#include <utility>

#include "base/thread.h"

namespace bulla {

WakeTimer::WakeTimer(std::string name, const Clock& clock, std::function<MonotonicTime()> fire)
    : clock_(clock) {
  thread_ = StartThread(std::move(name), [this, fire = std::move(fire)] { Run(fire); });
}

WakeTimer::~WakeTimer() { Stop(); }

void WakeTimer::Run(const std::function<MonotonicTime()>& fire) {
  constexpr auto kLongest = std::chrono::hours(1);  // some clocks overflow at "for ever"
  MutexLock lock(mutex_);
  while (!stopping_) {
    const MonotonicTime now = clock_.Now();
    if (next_ > now) {
      const MonotonicTime until = next_;
      changed_.WaitFor(mutex_, std::min<Duration>(until - now, kLongest),
                       [this, until]()
                           BULLA_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || next_ < until; });
      continue;
    }
    next_ = MonotonicTime::max();
    mutex_.Unlock();
    const MonotonicTime wanted = fire();
    mutex_.Lock();
    next_ = std::min(next_, wanted);
  }
}

void WakeTimer::WakeBy(MonotonicTime time) {
  MutexLock lock(mutex_);
  if (next_ <= time) return;
  next_ = time;
  changed_.NotifyAll();
}

void WakeTimer::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

}  // namespace bulla
