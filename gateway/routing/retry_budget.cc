#include "gateway/routing/retry_budget.h"

#include <algorithm>

namespace bulla {

void RetryBudget::Earn(std::size_t requests) {
  Add(static_cast<std::int64_t>(requests), kSavedMax * kRequestsPerRepeat);
}

void RetryBudget::Tick(MonotonicTime now) {
  if (now < next_) return;
  next_ = now + kFloorInterval;
  Add(kRequestsPerRepeat, kFloor * kRequestsPerRepeat);
}

bool RetryBudget::Spend() {
  std::int64_t tenths = tenths_.load(std::memory_order_relaxed);
  while (tenths >= kRequestsPerRepeat) {
    if (tenths_.compare_exchange_weak(tenths, tenths - kRequestsPerRepeat,
                                      std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

std::size_t RetryBudget::left() const {
  return static_cast<std::size_t>(tenths_.load(std::memory_order_relaxed) / kRequestsPerRepeat);
}

void RetryBudget::Add(std::int64_t tenths, std::int64_t tenths_max) {
  std::int64_t before = tenths_.load(std::memory_order_relaxed);
  while (before < tenths_max &&
         !tenths_.compare_exchange_weak(before, std::min(before + tenths, tenths_max),
                                        std::memory_order_relaxed)) {
  }
}

}  // namespace bulla
