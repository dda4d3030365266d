#include "gateway/routing/standing.h"

#include <algorithm>
#include <vector>

namespace bulla {

bool Standing::Takes() {
  const Value value = value_.load(std::memory_order_relaxed);
  if (value != Value::kTrial) return value == Value::kRelied;
  return trials_left_.load(std::memory_order_relaxed) > 0 &&
         trials_left_.fetch_sub(1, std::memory_order_relaxed) > 0;
}

void Standing::FollowBreaker(MonotonicTime now) {
  switch (breaker_.state()) {
    case CircuitBreaker::State::kClosed:
      return Rely();
    case CircuitBreaker::State::kOpen:
      value_.store(Value::kEjected, std::memory_order_relaxed);
      return;
    case CircuitBreaker::State::kHalfOpen:
      break;
  }
  const bool begins = value_.load(std::memory_order_relaxed) != Value::kTrial;
  if (!begins && now - trial_began_ < kTrialMax) return;
  trial_began_ = now;
  trials_left_.store(static_cast<int>(CircuitBreaker::kTrials), std::memory_order_relaxed);
  value_.store(Value::kTrial, std::memory_order_relaxed);
}

void Standing::Judge(std::span<const Judged> all, MonotonicTime now) {
  std::size_t serving = 0;
  std::vector<Standing*> ejected;
  for (const auto& [standing, serves] : all) {
    if (standing->ejected()) standing->FollowBreaker(now);
    if (!serves) continue;
    ++serving;
    if (standing->ejected()) ejected.push_back(standing);
  }
  const std::size_t ejected_max = serving * kEjectedMaxPercent / 100;
  for (const auto& [standing, serves] : all) {
    if (standing->ejected() || !standing->detected() || ejected.size() >= ejected_max) continue;
    standing->FollowBreaker(now);
    standing->ejected_at_ = now;
    ejected.push_back(standing);
  }
  // Others may have been lost since: those ejected longest are relied on again.
  std::ranges::sort(ejected, {}, [](const Standing* standing) { return standing->ejected_at_; });
  for (std::size_t i = 0; i + ejected_max < ejected.size(); ++i) ejected[i]->Rely();
}

}  // namespace bulla
