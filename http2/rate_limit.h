#pragma once

// How often a peer may do something: so many at once, and so many a second for ever (a token
// bucket). Pure: whoever asks says what time it is.

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace bulla::http2 {

class RateLimit {
 public:
  RateLimit(std::uint64_t burst, std::uint64_t per_second, MonotonicTime now)
      : burst_(burst), per_second_(per_second), left_(burst), filled_at_(now) {}

  // False: it was done too often.
  bool Take(MonotonicTime now) {
    if (left_ == 0) Fill(now);
    if (left_ == 0) return false;
    --left_;
    return true;
  }
  void Return(std::uint64_t count) { left_ = std::min(burst_, left_ + count); }

 private:
  void Fill(MonotonicTime now) {
    const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(now - filled_at_);
    const auto due =
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, elapsed.count())) * per_second_ / 1000;
    if (due == 0) return;
    left_ = std::min(burst_, due);
    filled_at_ = now;
  }

  std::uint64_t burst_;
  std::uint64_t per_second_;
  std::uint64_t left_;
  MonotonicTime filled_at_;
};

}  // namespace bulla::http2
