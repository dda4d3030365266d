#pragma once

// A clock that stands still until it is told to move.

#include <atomic>

#include "base/clock.h"

namespace bulla {

// Thread-safe.
class FakeClock final : public Clock {
 public:
  MonotonicTime Now() const override { return MonotonicTime(Duration(elapsed_.load())); }
  WallTime WallNow() const override {
    // Some day in 2026; what matters is that it advances with the monotonic clock.
    return WallTime(std::chrono::seconds(1'790'000'000)) +
           std::chrono::duration_cast<WallTime::duration>(Duration(elapsed_.load()));
  }
  void Advance(Duration by) { elapsed_ += by.count(); }

 private:
  std::atomic<Duration::rep> elapsed_{std::chrono::nanoseconds(std::chrono::hours(1)).count()};
};

}  // namespace bulla
