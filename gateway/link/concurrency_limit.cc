#include "gateway/link/concurrency_limit.h"

#include <algorithm>

namespace bulla {
namespace {

// Of the limit: fuller than this, it was reached (calls come in lists, so seldom exactly).
constexpr double kReached = 0.9;
// A window, of a limit that was reached: little, since the queue is near to what it may be.
constexpr double kGrowth = 1.1;
// A window, when nothing queues: from the floor to 4096 in 0.6 s.
constexpr double kFastGrowth = 2;
// Of wait_max: below a third of it there is overload no more. Clear of half of it, to which the
// fair shares of gateway/access/admission bring the queue while clients contend.
constexpr int kQuiet = 3;

// Without an answer: the enclave, or we, had no CPU. What waited meanwhile says nothing about the
// queue, so the window begins anew; but once, since one that stalls all the time is slow.
constexpr Duration kStall = ConcurrencyLimit::kWindow / 4;

}  // namespace

ConcurrencyLimit::ConcurrencyLimit(Options options)
    : options_({.max = std::max(options.max, kFloor), .wait_max = options.wait_max}),
      limit_(options_.max) {}

void ConcurrencyLimit::SetOptions(Options options) {
  const bool at_max = limit_ == options_.max;  // as after quiet
  options_ = {.max = std::max(options.max, kFloor), .wait_max = options.wait_max};
  limit_ = at_max ? options_.max : std::min(limit_, options_.max);
}

std::size_t ConcurrencyLimit::Admit(std::size_t asked, std::size_t in_flight, MonotonicTime now) {
  if (in_flight == 0) {
    if (now >= last_event_ + kWindow) {
      limit_ = options_.max;
      BeginWindow(0, now);
    }
    last_event_ = now;
  }
  const std::size_t room = limit_ - std::min(limit_, in_flight);
  const std::size_t admitted = std::min(asked, room);
  most_in_flight_ = std::max(most_in_flight_, in_flight + admitted);
  return admitted;
}

void ConcurrencyLimit::OnAnswered(std::size_t count, MonotonicTime oldest, std::size_t in_flight,
                                  MonotonicTime now) {
  if (now >= last_event_ + kStall && !stalled_) {
    BeginWindow(in_flight + count, now);
    stalled_ = true;
  }
  last_event_ = now;
  if (oldest != MonotonicTime::max()) least_latency_ = std::min(least_latency_, now - oldest);
  to_answer_ -= std::min(to_answer_, count);
  if (to_answer_ > 0 || now < window_end_) return;
  if (least_latency_ != Duration::max()) Judge();
  BeginWindow(in_flight, now);
}

void ConcurrencyLimit::BeginWindow(std::size_t in_flight, MonotonicTime now) {
  window_end_ = now + kWindow;
  stalled_ = false;
  to_answer_ = in_flight;
  least_latency_ = Duration::max();
  most_in_flight_ = in_flight;
}

void ConcurrencyLimit::Judge() {
  const auto most = static_cast<double>(most_in_flight_);
  if (least_latency_ > options_.wait_max) {
    // Few that take long are not a queue that fewer would shorten.
    if (most_in_flight_ <= kFloor) return;
    const double fits = most * static_cast<double>(options_.wait_max.count()) /
                        static_cast<double>(least_latency_.count());
    limit_ = std::clamp(static_cast<std::size_t>(fits), kFloor, limit_);
  } else if (least_latency_ * kQuiet < options_.wait_max) {
    GrowTo(static_cast<double>(limit_) * kFastGrowth);
  } else if (most >= static_cast<double>(limit_) * kReached) {
    GrowTo(static_cast<double>(limit_) * kGrowth);
  }
}

void ConcurrencyLimit::GrowTo(double limit) {
  limit_ = std::min(static_cast<std::size_t>(limit), options_.max);
}

}  // namespace bulla
