#include "gateway/routing/retry_budget.h"

#include <algorithm>

namespace bulla {

void RetryBudget::Deposit(std::size_t requests) {
  Add(static_cast<std::int64_t>(requests) * (kUnits / settings_.requests_per_retry.Get()),
      kSavedMax * kUnits);
}

void RetryBudget::Tick(MonotonicTime now) {
  if (now < next_) return;
  next_ = now + kFloorInterval;
  Add(kUnits, kFloor * kUnits);
}

bool RetryBudget::TryWithdraw() {
  std::int64_t units = saved_.load(std::memory_order_relaxed);
  while (units >= kUnits) {
    if (saved_.compare_exchange_weak(units, units - kUnits, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

std::size_t RetryBudget::left() const {
  return static_cast<std::size_t>(saved_.load(std::memory_order_relaxed) / kUnits);
}

void RetryBudget::Add(std::int64_t units, std::int64_t units_max) {
  std::int64_t before = saved_.load(std::memory_order_relaxed);
  while (before < units_max &&
         !saved_.compare_exchange_weak(before, std::min(before + units, units_max),
                                       std::memory_order_relaxed)) {
  }
}

}  // namespace bulla
