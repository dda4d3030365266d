#pragma once

// `bulla-bench capacity`: measures the highest paced rate that a service holds. See
// bench/commands/capacity.h.

#include <filesystem>
#include <ostream>

#include "base/clock.h"
#include "bench/commands/capacity.h"
#include "bench/commands/exit.h"
#include "bench/target/service.h"

namespace bulla {

struct CapacityOptions {
  ServiceChoice service;
  RunDescription run{.traffic = {.connections = 500},
                     .warm_up = std::chrono::seconds(1),
                     .duration = std::chrono::seconds(5)};  // of each step; without a rate
  double first_per_s = 1000;
  CapacityLimits limits;
  std::filesystem::path json_file;  // empty: none
};

// Measures steps until the search ends; each as a row on `rows`. Blocks. Errors as
// MeasureBlocking's.
absl::StatusOr<CapacityReport> FindCapacityBlocking(const CapacityOptions& options,
                                                    const ChosenService& service,
                                                    const Clock& clock, std::ostream& rows);

// Blocks. Call it before any thread is started.
BenchExit RunCapacityBlocking(const CapacityOptions& options, const Clock& clock, std::ostream& out,
                              std::ostream& err);

}  // namespace bulla
