#pragma once

// Calling a function at times that are only known as things go. Who does the calling is behind an
// interface: a thread each in the programs (base/wake_timer), simulated time in tests/simulation.

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"

namespace bulla {

// Thread-safe.
class Timer {
 public:
  virtual ~Timer() = default;  // Stop()
  // The function is called at `time` or soon after. Cheap when an earlier call is due.
  virtual void WakeBy(MonotonicTime time) = 0;
  // Returns after the last call has ended. Idempotent.
  virtual void Stop() = 0;
};

class Timers {
 public:
  // When to call again; MonotonicTime::max() for when it is asked for.
  using Fire = std::function<MonotonicTime()>;

  virtual ~Timers() = default;
  // One that calls `fire`, never twice at a time. `name` is for those who look at threads.
  virtual std::unique_ptr<Timer> Make(std::string name, Fire fire) = 0;
};

}  // namespace bulla
