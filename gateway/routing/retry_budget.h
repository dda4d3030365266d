#pragma once

// How many signatures the gateway may retry by itself: one for every ten (by default) that it was
// asked for, so that a fault of all enclaves at once does not become a storm; and a few a second
// whatever the traffic. What is not used is saved up to kSavedMax: an enclave that dies takes a few
// hundred with it at one moment, and those are what retrying is for.
//
// Pure but for being atomic: owns no lock, thread or clock.

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "gateway/routing/data_plane_settings.h"

namespace bulla {

// Thread-safe.
class RetryBudget {
 public:
  static constexpr std::int64_t kSavedMax = 500;
  // Below kFloor it fills up by itself, one in kFloorInterval.
  static constexpr std::int64_t kFloor = 10;
  static constexpr std::chrono::milliseconds kFloorInterval{100};

  // `settings` outlives it.
  explicit RetryBudget(const RetrySettings& settings) : settings_(settings) {}

  // `requests` arrived.
  void Deposit(std::size_t requests);
  // Time passes. For one thread.
  void Tick(MonotonicTime now);
  // Takes one retry; false when there is none.
  bool TryWithdraw();

  std::size_t left() const;

 private:
  // A retry is so many units, so that one request's part of it is a whole number, or nearly.
  static constexpr std::int64_t kUnits = 1'000'000;

  void Add(std::int64_t units, std::int64_t units_max);

  const RetrySettings& settings_;
  std::atomic<std::int64_t> saved_{kSavedMax * kUnits};
  MonotonicTime next_;
};

}  // namespace bulla
