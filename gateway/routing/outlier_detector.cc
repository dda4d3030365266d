#include "gateway/routing/outlier_detector.h"

#include <algorithm>
#include <vector>

namespace bulla {

bool OutlierDetector::TryAdmit() {
  const Value value = value_.load(std::memory_order_relaxed);
  if (value != Value::kTrial) return value == Value::kAvailable;
  return trials_left_.load(std::memory_order_relaxed) > 0 &&
         trials_left_.fetch_sub(1, std::memory_order_relaxed) > 0;
}

void OutlierDetector::FollowBreaker(MonotonicTime now) {
  switch (breaker_.state()) {
    case CircuitBreaker::State::kClosed:
      return Return();
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

void OutlierDetector::Judge(std::span<const Judged> all, MonotonicTime now) {
  std::size_t serving = 0;
  std::vector<OutlierDetector*> ejected;
  for (const auto& [detector, in_service] : all) {
    if (detector->ejected()) detector->FollowBreaker(now);
    if (!in_service) continue;
    ++serving;
    if (detector->ejected()) ejected.push_back(detector);
  }
  const std::size_t ejected_max = serving * kEjectedMaxPercent / 100;
  for (const auto& [detector, in_service] : all) {
    if (detector->ejected() || !detector->detected() || ejected.size() >= ejected_max) continue;
    detector->FollowBreaker(now);
    detector->ejected_at_ = now;
    ejected.push_back(detector);
  }
  // Others may have been lost since: those ejected longest return.
  std::ranges::sort(ejected, {},
                    [](const OutlierDetector* detector) { return detector->ejected_at_; });
  for (std::size_t i = 0; i + ejected_max < ejected.size(); ++i) ejected[i]->Return();
}

}  // namespace bulla
