#pragma once

// Time. Only RealClock asks the machine what time it is; pure code takes `now` as a parameter and
// shells take a Clock, so that tests and simulations own the time.

#include <chrono>
#include <cstdint>

namespace bulla {

using MonotonicTime = std::chrono::steady_clock::time_point;  // durations, deadlines
using WallTime = std::chrono::system_clock::time_point;       // logs, certificates, signatures
using Duration = std::chrono::steady_clock::duration;

inline std::int64_t UnixMillis(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime Now() const = 0;
  virtual WallTime WallNow() const = 0;
};

class RealClock final : public Clock {
 public:
  MonotonicTime Now() const override { return std::chrono::steady_clock::now(); }
  WallTime WallNow() const override { return std::chrono::system_clock::now(); }
};

}  // namespace bulla
