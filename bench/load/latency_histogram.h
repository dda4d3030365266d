#pragma once

// Latencies of millions of requests in fixed memory: a log-linear histogram, as HdrHistogram's
// (http://hdrhistogram.org). Each power of two is cut into 1024 equal steps, so that a value is
// known to better than 0.1 % (three significant digits) anywhere in the range.
//
// What it reports never flatters: a quantile is the upper edge of its step, and a value beyond the
// range counts as the highest, with the maximum kept as it was.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace bulla {

// Confined to one thread.
class LatencyHistogram {
 public:
  // Finer than a thread is woken, and longer than anybody waits for a signature.
  static constexpr Duration kUnit = std::chrono::microseconds(1);
  static constexpr Duration kHighest = std::chrono::seconds(60);

  // Negative latencies count as 0.
  void Record(Duration latency);
  void Clear() { *this = LatencyHistogram(); }

  std::uint64_t count() const { return count_; }
  Duration max() const { return max_; }  // exact; 0 when empty
  Duration Mean() const;                 // exact; 0 when empty
  // The least recorded value, rounded up to its step, that at least `share` (0 to 1) of all do not
  // exceed. 0 when empty.
  Duration Quantile(double share) const;

 private:
  static constexpr std::size_t kStepBits = 10;
  static constexpr std::uint64_t kSteps = std::uint64_t{1} << kStepBits;
  static constexpr std::uint64_t kHighestUnits = kHighest / kUnit;

  // Which power of two, counted from that where steps become wider than a unit.
  static constexpr std::size_t kHighestShift =
      static_cast<std::size_t>(std::bit_width(kHighestUnits)) - kStepBits - 1;
  static constexpr std::size_t kPlaces =
      kHighestShift * kSteps + (kHighestUnits >> kHighestShift) + 1;

  static std::size_t Place(std::uint64_t units);  // where in counts_
  static Duration UpperEdge(std::size_t place);   // the highest value counted there

  std::array<std::uint64_t, kPlaces> counts_{};
  std::uint64_t count_ = 0;
  Duration sum_{};
  Duration max_{};
};

}  // namespace bulla
