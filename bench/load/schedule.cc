#include "bench/load/schedule.h"

#include <algorithm>
#include <cmath>

namespace bulla {

Schedule::Schedule(const SchedulePlan& plan, MonotonicTime start)
    : plan_(plan), start_(start), requests_(plan.requests_max) {
  if (!open_loop()) return;
  // The two parts are counted apart, so that `measured` at `rate_per_s` is a round number of
  // requests whatever the warm-up was.
  warm_up_requests_ = std::min(DueWithin(plan.rate_per_s, plan.warm_up), plan.requests_max);
  requests_ =
      std::min(warm_up_requests_ + DueWithin(plan.rate_per_s, plan.measured), plan.requests_max);
}

std::optional<DueRequest> Schedule::Take(MonotonicTime now) {
  if (next_ >= requests_) return std::nullopt;
  if (open_loop()) {
    MonotonicTime due = DueTime(next_);
    if (due > now) return std::nullopt;
    std::uint64_t index = next_++;
    return DueRequest{.index = index, .due = due, .measured = index >= warm_up_requests_};
  }
  if (now >= end()) return std::nullopt;
  return DueRequest{.index = next_++, .due = now, .measured = now >= measured_from()};
}

MonotonicTime Schedule::next_due() const {
  if (next_ >= requests_) return MonotonicTime::max();
  return open_loop() ? DueTime(next_) : start_;
}

bool Schedule::Ended(MonotonicTime now) const {
  return next_ >= requests_ || (!open_loop() && now >= end());
}

std::uint64_t Schedule::MeasuredLeft() const {
  return open_loop() ? requests_ - std::max(next_, std::min(warm_up_requests_, requests_)) : 0;
}

std::uint64_t Schedule::DueWithin(double rate_per_s, Duration time) {
  // A tenth of a request is forgiven to the arithmetic: 0.1 s at 70 a second is 7, not 7.0000001.
  double exact = rate_per_s * std::chrono::duration<double>(time).count();
  return static_cast<std::uint64_t>(std::max(0.0, std::ceil(exact - 0.1)));
}

MonotonicTime Schedule::DueTime(std::uint64_t index) const {
  // Counted from the start of its own part: never a sum of rounded steps, which would drift.
  bool measured = index >= warm_up_requests_;
  double nth = static_cast<double>(measured ? index - warm_up_requests_ : index);
  std::chrono::duration<double> offset(nth / plan_.rate_per_s);
  return (measured ? measured_from() : start_) + std::chrono::duration_cast<Duration>(offset);
}

}  // namespace bulla
