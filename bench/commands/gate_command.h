#pragma once

// `bulla-bench gate`: measures whether a service bears the load that it has to. See
// bench/commands/gate.h.

#include <filesystem>
#include <ostream>

#include "base/clock.h"
#include "bench/commands/exit.h"
#include "bench/commands/gate.h"
#include "bench/target/service.h"

namespace bulla {

struct GateOptions {
  ServiceChoice service;
  RunDescription run{.traffic = {.connections = 500},
                     .warm_up = std::chrono::seconds(5),
                     .duration = std::chrono::minutes(15)};
  // Without run.rate_per_s: of the capacity, which is measured first.
  double share_of_capacity = 0.5;
  GateLimits limits;
  std::filesystem::path json_file;  // empty: none
};

// Blocks. Call it before any thread is started. kMissed when a criterion is not met.
BenchExit RunGateBlocking(const GateOptions& options, const Clock& clock, std::ostream& out,
                          std::ostream& err);

}  // namespace bulla
