#pragma once

// What an enclave counts of wire/enclave_metrics.h, for the gateway's probe. Counts only: nothing
// is ordered by them.

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "wire/enclave_metrics.h"
#include "wire/enclave_report.h"

namespace bulla {

// Values, counted by the bounds that they lie under. Thread-safe.
class ValueHistogram {
 public:
  // Upper bounds, ascending; they outlive it.
  explicit ValueHistogram(std::span<const double> bounds);

  // `times` values of this size. At least 0.
  void Record(double value, std::uint64_t times = 1);

  EnclaveReport::Histogram Report() const;

 private:
  const std::span<const double> bounds_;
  std::vector<std::atomic<std::uint64_t>> counts_;
  std::atomic<std::uint64_t> sum_thousandths_{0};
};

// Thread-safe.
class EnclaveCounters {
 public:
  EnclaveCounters();

  void Increment(EnclaveMetricId metric, std::uint64_t by = 1) {
    numbers_[metric.index].fetch_add(by, std::memory_order_relaxed);
  }
  std::uint64_t operator[](EnclaveMetricId metric) const {
    return numbers_[metric.index].load(std::memory_order_relaxed);
  }
  ValueHistogram& histogram(EnclaveHistogramId id) { return histograms_[id.index]; }

  // All of it; 0 for what is not counted here.
  EnclaveReport Report() const;

 private:
  std::array<std::atomic<std::uint64_t>, kEnclaveMetrics.size()> numbers_{};
  std::deque<ValueHistogram> histograms_;  // as in kEnclaveHistograms
};

}  // namespace bulla
