#pragma once

// When requests are due. Pure: time is a parameter.
//
// Open loop: request i is due at start + i / rate, whatever became of the requests before it. What
// cannot be sent in time is sent late and its latency counts from when it was due, so that a
// service that stalls is charged for everybody who would have called meanwhile (no coordinated
// omission). Closed loop: a request is due whenever somebody is free to send it.
//
// The first part, the warm-up, is served like the rest and left out of the figures.

#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace bulla {

struct SchedulePlan {
  double rate_per_s = 0;  // 0: closed loop
  Duration warm_up{};
  Duration measured{};
  std::uint64_t requests_max = 0;  // warm-up included; the schedule ends there if not before
};

struct DueRequest {
  std::uint64_t index = 0;  // from 0, warm-up included
  MonotonicTime due;
  bool measured = false;
};

// Confined to one thread.
class Schedule {
 public:
  Schedule(const SchedulePlan& plan, MonotonicTime start);

  // The next request if it is due at `now`, to be sent at once. Nothing: not yet, or no more.
  std::optional<DueRequest> Take(MonotonicTime now);

  // When the next request is due; in the past when requests wait to be taken, max() when there are
  // no more. In a closed loop always in the past.
  MonotonicTime next_due() const;
  bool Ended(MonotonicTime now) const;

  // Measured requests that nobody took. Requires: the schedule has ended, or is given up at its
  // end.
  std::uint64_t MeasuredLeft() const;

  MonotonicTime measured_from() const { return start_ + plan_.warm_up; }
  MonotonicTime end() const { return measured_from() + plan_.measured; }

  // Open loop: all requests, warm-up included, and those due before a time since the start.
  static std::uint64_t DueWithin(double rate_per_s, Duration time);

 private:
  bool open_loop() const { return plan_.rate_per_s > 0; }
  MonotonicTime DueTime(std::uint64_t index) const;

  const SchedulePlan plan_;
  const MonotonicTime start_;
  std::uint64_t warm_up_requests_ = 0;  // open loop
  std::uint64_t requests_;              // there are no more than these
  std::uint64_t next_ = 0;
};

}  // namespace bulla
