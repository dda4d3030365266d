#include "base/ticker.h"

#include <utility>

#include "base/thread.h"

namespace bulla {

Ticker::Ticker(std::string name, Duration interval, std::function<void()> tick)
    : Ticker(std::move(name), interval, interval, [tick = std::move(tick)] {
        tick();
        return false;
      }) {}

Ticker::Ticker(std::string name, Duration interval, Duration hurried, std::function<bool()> tick) {
  thread_ = StartThread(std::move(name), [this, interval, hurried, tick = std::move(tick)] {
    Run(interval, hurried, tick);
  });
}

Ticker::~Ticker() { Stop(); }

void Ticker::Run(Duration interval, Duration hurried, const std::function<bool()>& tick) {
  for (bool in_hurry = false;;) {
    {
      MutexLock lock(mutex_);
      resting_ = !in_hurry;
      changed_.WaitFor(mutex_, in_hurry ? hurried : interval,
                       [this, in_hurry]() BULLA_NO_THREAD_SAFETY_ANALYSIS {
                         return stopping_ || (!in_hurry && hurry_);
                       });
      resting_ = false;
      if (stopping_) return;
    }
    if (!in_hurry && hurry_) {
      in_hurry = true;  // what it is about is new: not due before the short pause either
      continue;
    }
    hurry_ = false;
    in_hurry = tick() || hurry_;
  }
}

void Ticker::Hurry() {
  hurry_ = true;
  if (!resting_) return;
  MutexLock lock(mutex_);
  changed_.NotifyAll();
}

void Ticker::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

}  // namespace bulla
