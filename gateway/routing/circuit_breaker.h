#pragma once

// Whether an enclave that can be reached does its work. Its connections tell when it is
// gone; this tells when it is there and does not answer: frozen, or answering rubbish.
//
//   closed     signatures go there
//   open       none do, for a while that doubles from kOpenMin to kOpenMax
//   half-open  a few do, as a trial: answered, they close it; one that is not opens it again
//
// It opens when kFailuresMin signatures in a row failed and none has succeeded for kSilence, or
// when as many fail as succeed. Callers hardly notice: what fails is retried elsewhere.
//
// Pure: told of outcomes every few milliseconds, with the time. Not thread-safe.

#include <cstdint>

#include "base/clock.h"

namespace bulla {

class CircuitBreaker {
 public:
  enum class State { kClosed, kOpen, kHalfOpen };

  static constexpr std::uint64_t kFailuresMin = 8;
  static constexpr std::chrono::milliseconds kSilence{100};
  static constexpr std::chrono::milliseconds kOpenMin{250};
  static constexpr std::chrono::milliseconds kOpenMax{5000};
  // Signatures let through as a trial, and how many of them must succeed.
  static constexpr std::uint64_t kTrials = 8;

  explicit CircuitBreaker(MonotonicTime now) : last_success_(now), decayed_at_(now) {}

  // `succeeded` and `failed` signatures came to their end since the last call. `random` spreads the
  // trials of several gateways.
  void Observe(MonotonicTime now, std::uint64_t succeeded, std::uint64_t failed,
               std::uint64_t random);
  State state() const { return state_; }

 private:
  bool ShouldOpen(MonotonicTime now) const;
  void Open(MonotonicTime now, std::uint64_t random);
  void Close(MonotonicTime now);
  void Decay(MonotonicTime now);

  State state_ = State::kClosed;
  MonotonicTime last_success_;
  std::uint64_t failed_in_a_row_ = 0;
  // Of the last second or so: halved every kHalfLife.
  double recent_successes_ = 0;
  double recent_failures_ = 0;
  MonotonicTime decayed_at_;
  MonotonicTime open_until_;
  unsigned openings_ = 0;  // since it was last closed
  std::uint64_t trials_succeeded_ = 0;
};

}  // namespace bulla
