#pragma once

// Outlier detection: whether an enclave is ejected. Two things are kept apart: what its circuit
// breaker detects, and
// what follows from it. At most kEjectedMaxPercent of the enclaves in service are ejected, since
// when all look bad the fault is likely ours, and a few signatures are better than none; so one
// that is detected may be used still. Once ejected it comes back through a trial.
//
// Pure: owns no thread, lock or clock. TryAdmit() and ejected() may be called by any thread, the
// rest by one.

#include <atomic>
#include <cstdint>
#include <span>

#include "base/clock.h"
#include "gateway/routing/circuit_breaker.h"

namespace bulla {

class OutlierDetector {
 public:
  static constexpr std::size_t kEjectedMaxPercent = 50;
  // A trial that has not ended by then is given anew: a signature may have been let through and
  // refused for another reason, so that nothing was learned.
  static constexpr std::chrono::seconds kTrialMax{1};

  explicit OutlierDetector(MonotonicTime now) : breaker_(now) {}

  bool ejected() const { return value_.load(std::memory_order_relaxed) != Value::kAvailable; }
  // Whether a signature may go there now. One that goes as a trial uses that trial up.
  bool TryAdmit();

  // What has become of its signatures since the last call; as CircuitBreaker::Observe.
  void Observe(MonotonicTime now, std::uint64_t succeeded, std::uint64_t failed,
               std::uint64_t random) {
    breaker_.Observe(now, succeeded, failed, random);
  }

  struct Judged {
    OutlierDetector* detector;
    bool in_service;
  };
  // To be called for all the enclaves together, after Observe().
  static void Judge(std::span<const Judged> all, MonotonicTime now);

 private:
  enum class Value : std::uint8_t { kAvailable, kEjected, kTrial };

  bool detected() const { return breaker_.state() != CircuitBreaker::State::kClosed; }
  // Of one that is ejected or detected: ejected, or on trial, as its breaker says.
  void FollowBreaker(MonotonicTime now);
  void Return() { value_.store(Value::kAvailable, std::memory_order_relaxed); }

  std::atomic<Value> value_{Value::kAvailable};
  std::atomic<int> trials_left_{0};
  // The judging thread's own.
  CircuitBreaker breaker_;
  MonotonicTime ejected_at_;
  MonotonicTime trial_began_;
};

}  // namespace bulla
