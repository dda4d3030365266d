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

EnclaveReport::Histogram ValueHistogram::Report() const {
  EnclaveReport::Histogram report{.bounds = {bounds_.begin(), bounds_.end()}};
  for (const auto& count : counts_) report.counts.push_back(count.load(std::memory_order_relaxed));
  report.sum = static_cast<double>(sum_thousandths_.load(std::memory_order_relaxed)) / 1000;
  return report;
}

EnclaveCounters::EnclaveCounters() {
  for (const EnclaveHistogram& row : kEnclaveHistograms) histograms_.emplace_back(row.bounds);
}

EnclaveReport EnclaveCounters::Report() const {
  EnclaveReport report;
  for (std::size_t i = 0; i < numbers_.size(); ++i) {
    report.numbers[i] = numbers_[i].load(std::memory_order_relaxed);
  }
  for (std::size_t i = 0; i < histograms_.size(); ++i) {
    report.histograms[i] = histograms_[i].Report();
  }
  return report;
}

}  // namespace bulla
