#include "bench/load/latency_histogram.h"

#include <algorithm>
#include <cmath>

namespace bulla {

void LatencyHistogram::Record(Duration latency) {
  latency = std::max(latency, Duration::zero());
  // Rounded up: a request that took 0.3 us did not take none.
  std::uint64_t units = static_cast<std::uint64_t>((latency + kUnit - Duration(1)) / kUnit);
  ++counts_[Place(std::min(units, kHighestUnits))];
  ++count_;
  sum_ += latency;
  max_ = std::max(max_, latency);
}

Duration LatencyHistogram::Mean() const {
  return count_ == 0 ? Duration::zero() : sum_ / static_cast<Duration::rep>(count_);
}

Duration LatencyHistogram::Quantile(double share) const {
  if (count_ == 0) return Duration::zero();
  double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_));
  std::uint64_t rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, count_);
  std::uint64_t seen = 0;
  std::size_t place = 0;
  while ((seen += counts_[place]) < rank) ++place;
  if (place + 1 == counts_.size()) return max_;  // beyond the range only the maximum is known
  return std::min(UpperEdge(place), max_);
}

std::size_t LatencyHistogram::Place(std::uint64_t units) {
  // Below 2 * kSteps nothing is shifted out.
  std::size_t shift = static_cast<std::size_t>(std::bit_width(units | kSteps)) - kStepBits - 1;
  return shift * kSteps + (units >> shift);
}

Duration LatencyHistogram::UpperEdge(std::size_t place) {
  // The inverse of Place: below 2 * kSteps the units themselves, then for each shift the steps
  // kSteps..2 * kSteps - 1.
  std::size_t shift = place < 2 * kSteps ? 0 : place / kSteps - 1;
  std::uint64_t step = place - shift * kSteps;
  return static_cast<Duration::rep>(((step + 1) << shift) - 1) * kUnit;
}

}  // namespace bulla
