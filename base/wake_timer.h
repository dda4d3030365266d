#pragma once

// Calls a function at times that are only known as things go: sleeps until the earliest that it was
// asked for, and costs nothing while there is none.

#include <functional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"

namespace bulla {

class WakeTimer {
 public:
  // `fire` returns when it wants to be called next; MonotonicTime::max() for when it is asked for.
  WakeTimer(std::string name, const Clock& clock, std::function<MonotonicTime()> fire);
  ~WakeTimer();  // Stop()

  // `fire` is called at `time` or soon after. Thread-safe, and cheap when an earlier call is due.
  void WakeBy(MonotonicTime time) BULLA_EXCLUDES(mutex_);
  // Returns after the last call has ended. Idempotent.
  void Stop() BULLA_EXCLUDES(mutex_);

 private:
  void Run(const std::function<MonotonicTime()>& fire) BULLA_EXCLUDES(mutex_);

  const Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  MonotonicTime next_ BULLA_GUARDED_BY(mutex_) = MonotonicTime::max();
  bool stopping_ BULLA_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bulla
