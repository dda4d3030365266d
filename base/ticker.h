#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "base/mutex.h"

namespace bulla {

// Calls `tick` at a steady interval on a thread of its own; a tick that takes longer delays the
// next.
class Ticker {
 public:
  Ticker(std::string name, std::chrono::milliseconds interval, std::function<void()> tick);
  ~Ticker();  // Stop()
  // Returns after the last tick has ended. Idempotent.
  void Stop() BULLA_EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  CondVar stopped_;
  bool stopping_ BULLA_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace bulla
