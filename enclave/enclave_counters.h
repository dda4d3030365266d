#pragma once

// What an enclave counts, for the gateway's probe. Counts only: nothing is ordered by them.

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"

namespace bulla {

// Values, counted by the bounds that they lie under. Thread-safe.
class ValueHistogram {
 public:
  // Upper bounds, ascending; they outlive it.
  explicit ValueHistogram(std::span<const double> bounds);

  // `times` values of this size. At least 0.
  void Record(double value, std::uint64_t times = 1);

  std::span<const double> bounds() const { return bounds_; }
  std::vector<std::uint64_t> counts() const;  // one more than bounds, for what lies above
  double sum() const;

 private:
  const std::span<const double> bounds_;
  std::vector<std::atomic<std::uint64_t>> counts_;
  std::atomic<std::uint64_t> sum_thousandths_{0};
};

struct EnclaveCounters {
  // An opening takes 0.05 to 0.1 ms; 0.2 is the objective's p99, 2 the spec's p95.
  static constexpr std::array<double, 12> kRehydrateBoundsMs = {0.03, 0.05, 0.075, 0.1, 0.15, 0.2,
                                                                0.5,  1,    2,     5,   10,   50};
  // Unchecked some 20, computed twice 40 to 60; 300 is the spec's limit.
  static constexpr std::array<double, 12> kSignBoundsUs = {15, 20,  30,  40,  50,  60,
                                                           80, 100, 150, 200, 300, 1000};
  static constexpr std::array<double, 8> kBatchBounds = {1, 2, 4, 8, 12, 16, 24, 32};

  std::atomic<std::uint64_t> signatures{0};
  std::atomic<std::uint64_t> keys_created{0};
  std::atomic<std::uint64_t> rehydrations{0};  // refreshes among them
  std::atomic<std::uint64_t> rehydrations_failed{0};
  std::atomic<std::uint64_t> refreshes{0};
  std::atomic<std::uint64_t> hard_expired_rejections{0};
  ValueHistogram rehydrate_latency_ms{kRehydrateBoundsMs};

  // Of the engine. CPU time of a signature is the mean over its job.
  ValueHistogram sign_cpu_us{kSignBoundsUs};
  ValueHistogram batch_size{kBatchBounds};  // signatures asked for in one frame
  std::atomic<std::uint64_t> frames_in{0};  // with something to do in them
  std::atomic<std::uint64_t> frames_out{0};
  std::atomic<std::uint64_t> jobs{0};     // handed to a worker
  std::atomic<std::uint64_t> busy_us{0};  // of all workers
  std::atomic<std::uint64_t> engine_init_us{0};

  static void Increment(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) {
    counter.fetch_add(by, std::memory_order_relaxed);
  }
};

}  // namespace bulla
