#include "gateway/routing/retry_budget.h"

#include <algorithm>

namespace bulla {

void RetryBudget::Deposit(std::size_t requests) {
  Add(static_cast<std::int64_t>(requests), kSavedMax * kRequestsPerRetry);
}

void RetryBudget::Tick(MonotonicTime now) {
  if (now < next_) return;
  next_ = now + kFloorInterval;
  Add(kRequestsPerRetry, kFloor * kRequestsPerRetry);
}

bool RetryBudget::TryWithdraw() {
  std::int64_t tenths = tenths_.load(std::memory_order_relaxed);
  while (tenths >= kRequestsPerRetry) {
    if (tenths_.compare_exchange_weak(tenths, tenths - kRequestsPerRetry,
                                      std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

std::size_t RetryBudget::left() const {
  return static_cast<std::size_t>(tenths_.load(std::memory_order_relaxed) / kRequestsPerRetry);
}

void RetryBudget::Add(std::int64_t tenths, std::int64_t tenths_max) {
  std::int64_t before = tenths_.load(std::memory_order_relaxed);
  while (before < tenths_max &&
         !tenths_.compare_exchange_weak(before, std::min(before + tenths, tenths_max),
                                        std::memory_order_relaxed)) {
  }
}

}  // namespace bulla
