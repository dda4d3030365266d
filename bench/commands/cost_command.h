#pragma once

// `bulla-bench cost`: measures what a signature costs. See bench/commands/cost.h.

#include <filesystem>
#include <ostream>
#include <vector>

#include "base/clock.h"
#include "bench/commands/cost.h"
#include "bench/commands/exit.h"
#include "bench/target/service.h"

namespace bulla {

struct CostOptions {
  std::filesystem::path target;  // endpoints.json of a running service; empty: services of its own
  ServiceOptions service;        // its own: one that checks its signatures and one that does not
  std::vector<CostPhase> phases;
  int rounds = 3;
  Duration warm_up = std::chrono::milliseconds(300);  // of each round
  Duration measured = std::chrono::milliseconds(1200);
  Traffic http{.protocol = Protocol::kHttp, .connections = 500};
  // A few streams whose messages are full: the best that batches can do.
  Traffic stream{
      .protocol = Protocol::kStream, .connections = 2, .batch = 32, .streams = 2, .messages = 4};
  int keys = 16;
  std::filesystem::path json_file;  // empty: none
};

// Blocks. Call it before any thread is started: services die with the thread that started them.
BenchExit RunCostBlocking(const CostOptions& options, const Clock& clock, std::ostream& out,
                          std::ostream& err);

}  // namespace bulla
