#include "enclave/enclave_counters.h"

#include <algorithm>

namespace bulla {

ValueHistogram::ValueHistogram(std::span<const double> bounds)
    : bounds_(bounds), counts_(bounds.size() + 1) {}

void ValueHistogram::Record(double value, std::uint64_t times) {
  const auto bound = std::ranges::lower_bound(bounds_, value);
  counts_[static_cast<std::size_t>(bound - bounds_.begin())].fetch_add(times,
                                                                       std::memory_order_relaxed);
  const double thousandths = std::max(0.0, value) * 1000 * static_cast<double>(times);
  sum_thousandths_.fetch_add(static_cast<std::uint64_t>(thousandths), std::memory_order_relaxed);
}

std::vector<std::uint64_t> ValueHistogram::counts() const {
  std::vector<std::uint64_t> counts;
  for (const auto& count : counts_) counts.push_back(count.load(std::memory_order_relaxed));
  return counts;
}

double ValueHistogram::sum() const {
  return static_cast<double>(sum_thousandths_.load(std::memory_order_relaxed)) / 1000;
}

}  // namespace bulla
