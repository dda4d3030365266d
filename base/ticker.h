#pragma once

// A function that is called at a steady interval, on a thread of its own.

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"

namespace bulla {

// A tick that takes longer than the interval delays the next.
class Ticker {
 public:
  Ticker(std::string name, Duration interval, std::function<void()> tick);
  // With two paces: from a Hurry() on, and for as long as `tick` returns true, it comes every
  // `hurried`. So that what has to be looked at often only now and then costs nothing in between.
  Ticker(std::string name, Duration interval, Duration hurried, std::function<bool()> tick);
  ~Ticker();  // Stop()

  // Thread-safe, and cheap while it hurries already.
  void Hurry() BULLA_EXCLUDES(mutex_);
  // Returns after the last tick has ended. Idempotent.
  void Stop() BULLA_EXCLUDES(mutex_);

 private:
  void Run(Duration interval, Duration hurried, const std::function<bool()>& tick)
      BULLA_EXCLUDES(mutex_);

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ BULLA_GUARDED_BY(mutex_) = false;
  // Hurry() writes the first and reads the second, the thread the other way round, so that one of
  // them sees the other.
  std::atomic<bool> hurry_{false};
  std::atomic<bool> resting_{false};  // in the long pause
  std::thread thread_;
};

}  // namespace bulla
