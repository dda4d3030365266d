#pragma once

// How many signatures may be with one enclave at a time, gathered ones among them. What is over it
// is refused at once, so that under overload those that are taken are answered in good time instead
// of all being answered late.
//
// What an enclave can do is not known beforehand, so it is read off its answers, in windows of 100
// ms or more: until all is answered that was there when the window began. The least latency within
// a window is the standing queue (as in CoDel, RFC 8289): a burst does not raise it, since the
// queue is worked off again, nor does a host that takes the CPU away for a moment, since a window
// begins anew after that. While it is above `wait_max` the limit shrinks to what fits by
// Little's law; below, it grows when it was reached. Where nothing queues at all, and where nothing
// is asked for, it is soon back at its maximum, so that a burst after quiet is not refused.
//
// Pure: owns no thread, lock or clock. Not thread-safe.

#include <chrono>
#include <cstddef>

#include "base/clock.h"

namespace bulla {

class ConcurrencyLimit {
 public:
  struct Options {
    std::size_t max = 4096;  // signatures: the slots that there are
    Duration wait_max = std::chrono::milliseconds(50);
  };
  static constexpr Duration kWindow = std::chrono::milliseconds(100);
  // Two full frames: one at work, one on its way. It never shrinks below them, nor for so few.
  static constexpr std::size_t kFloor = 64;

  explicit ConcurrencyLimit(Options options);

  // From now on.
  void SetOptions(Options options);

  // How many more may join the `in_flight` that are there, at most `asked`.
  std::size_t Admit(std::size_t asked, std::size_t in_flight, MonotonicTime now);

  // `count` were answered or given up, and `in_flight` are left. Of those for which the work was
  // done, the oldest joined at `oldest`; max() when there are none.
  void OnAnswered(std::size_t count, MonotonicTime oldest, std::size_t in_flight,
                  MonotonicTime now);

  std::size_t limit() const { return limit_; }

 private:
  void BeginWindow(std::size_t in_flight, MonotonicTime now);
  void Judge();
  void GrowTo(double limit);

  Options options_;
  std::size_t limit_;
  MonotonicTime last_event_;                  // an answer, or the first call behind none
  MonotonicTime window_end_;                  // not before
  bool stalled_ = false;                      // before the window began
  std::size_t to_answer_ = 0;                 // of what was there when the window began
  Duration least_latency_ = Duration::max();  // in this window; max(): nothing was answered
  std::size_t most_in_flight_ = 0;            // in this window
};

}  // namespace bulla
