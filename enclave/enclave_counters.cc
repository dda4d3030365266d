#include "enclave/enclave_counters.h"

#include <algorithm>

namespace bulla {

void LatencyHistogram::Record(Duration latency) {
  const double ms = std::chrono::duration<double, std::milli>(latency).count();
  const auto bound = std::lower_bound(kBoundsMs.begin(), kBoundsMs.end(), ms);
  counts_[static_cast<std::size_t>(bound - kBoundsMs.begin())].fetch_add(1,
                                                                         std::memory_order_relaxed);
  sum_ns_.fetch_add(static_cast<std::uint64_t>(std::max<Duration::rep>(0, latency.count())),
                    std::memory_order_relaxed);
}

LatencyHistogram::Counts LatencyHistogram::counts() const {
  Counts counts;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  return counts;
}

double LatencyHistogram::sum_ms() const {
  return static_cast<double>(sum_ns_.load(std::memory_order_relaxed)) / 1e6;
}

}  // namespace bulla
