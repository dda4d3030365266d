#include "gateway/routing/circuit_breaker.h"

#include <algorithm>

namespace bulla {
namespace {

constexpr std::chrono::milliseconds kHalfLife{500};

}  // namespace

void CircuitBreaker::Observe(MonotonicTime now, std::uint64_t succeeded, std::uint64_t failed,
                             std::uint64_t random) {
  Decay(now);
  recent_successes_ += static_cast<double>(succeeded);
  recent_failures_ += static_cast<double>(failed);
  if (succeeded > 0) last_success_ = now;
  failed_in_a_row_ = succeeded > 0 ? failed : failed_in_a_row_ + failed;

  if (state_ == State::kOpen) {
    if (now < open_until_) return;  // what was under way when it opened
    state_ = State::kHalfOpen;
    trials_succeeded_ = 0;
  }
  if (state_ == State::kHalfOpen) {
    if (failed > 0) return Open(now, random);
    trials_succeeded_ += succeeded;
    if (trials_succeeded_ >= kTrials) Close(now);
    return;
  }
  if (failed > 0 && ShouldOpen(now)) Open(now, random);
}

bool CircuitBreaker::ShouldOpen(MonotonicTime now) const {
  const bool silent = failed_in_a_row_ >= kFailuresMin && now - last_success_ >= kSilence;
  const bool unreliable = recent_failures_ >= static_cast<double>(kFailuresMin) &&
                          recent_failures_ >= recent_successes_;
  return silent || unreliable;
}

void CircuitBreaker::Open(MonotonicTime now, std::uint64_t random) {
  const std::chrono::milliseconds wait =
      std::min(kOpenMin * (1 << std::min(openings_, 10u)), kOpenMax);
  const auto half = static_cast<std::uint64_t>(wait.count() / 2);
  state_ = State::kOpen;
  open_until_ = now + wait / 2 + std::chrono::milliseconds(random % (half + 1));
  ++openings_;
}

void CircuitBreaker::Close(MonotonicTime now) { *this = CircuitBreaker(now); }

void CircuitBreaker::Decay(MonotonicTime now) {
  while (now - decayed_at_ >= kHalfLife) {
    if (recent_successes_ + recent_failures_ < 1) {
      decayed_at_ = now;
      return;
    }
    recent_successes_ /= 2;
    recent_failures_ /= 2;
    decayed_at_ += kHalfLife;
  }
}

}  // namespace bulla
