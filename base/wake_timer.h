#pragma once

// Calls a function at times that are only known as things go: sleeps until the earliest that it was
// asked for, and costs nothing while there is none.

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/timer.h"

namespace bulla {

// With a thread of its own.
class WakeTimer final : public Timer {
 public:
  // `fire` returns when it wants to be called next; MonotonicTime::max() for when it is asked for.
  WakeTimer(std::string name, const Clock& clock, std::function<MonotonicTime()> fire);
  ~WakeTimer() override;

  void WakeBy(MonotonicTime time) override BULLA_EXCLUDES(mutex_);
  void Stop() override BULLA_EXCLUDES(mutex_);

 private:
  void Run(const std::function<MonotonicTime()>& fire) BULLA_EXCLUDES(mutex_);

  const Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  MonotonicTime next_ BULLA_GUARDED_BY(mutex_) = MonotonicTime::max();
  bool stopping_ BULLA_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

class ThreadTimers final : public Timers {
 public:
  explicit ThreadTimers(const Clock& clock) : clock_(clock) {}
  std::unique_ptr<Timer> Make(std::string name, Fire fire) override {
    return std::make_unique<WakeTimer>(std::move(name), clock_, std::move(fire));
  }

 private:
  const Clock& clock_;
};

}  // namespace bulla
