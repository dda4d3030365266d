#pragma once

// What an enclave counts, for the gateway's probe. Counts only: nothing is ordered by them.

#include <array>
#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace bulla {

// Thread-safe.
class LatencyHistogram {
 public:
  // Upper bounds in milliseconds. An opening takes 0.05 to 0.1 ms; 0.2 is the objective's p99, 2
  // the spec's p95.
  static constexpr std::array<double, 12> kBoundsMs = {0.03, 0.05, 0.075, 0.1, 0.15, 0.2,
                                                       0.5,  1,    2,     5,   10,   50};
  using Counts = std::array<std::uint64_t, kBoundsMs.size() + 1>;

  void Record(Duration latency);
  Counts counts() const;
  double sum_ms() const;

 private:
  std::array<std::atomic<std::uint64_t>, kBoundsMs.size() + 1> counts_{};
  std::atomic<std::uint64_t> sum_ns_{0};
};

struct EnclaveCounters {
  std::atomic<std::uint64_t> signatures{0};
  std::atomic<std::uint64_t> keys_created{0};
  std::atomic<std::uint64_t> rehydrations{0};  // refreshes among them
  std::atomic<std::uint64_t> rehydrations_failed{0};
  std::atomic<std::uint64_t> refreshes{0};
  std::atomic<std::uint64_t> hard_expired_rejections{0};
  LatencyHistogram rehydrate_latency;

  static void Increment(std::atomic<std::uint64_t>& counter) {
    counter.fetch_add(1, std::memory_order_relaxed);
  }
};

}  // namespace bulla
