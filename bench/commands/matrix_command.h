#pragma once

// `bulla-bench matrix`: measures services that are set up differently. See bench/commands/matrix.h.

#include <filesystem>
#include <ostream>
#include <vector>

#include "base/clock.h"
#include "bench/commands/exit.h"
#include "bench/commands/matrix.h"

namespace bulla {

struct MatrixOptions {
  ServiceOptions service;
  std::vector<MatrixCell> cells;
  RunDescription closed{.traffic = {.connections = 500},
                        .warm_up = std::chrono::milliseconds(500),
                        .duration = std::chrono::seconds(2)};
  RunDescription paced{.traffic = {.connections = 500},
                       .rate_per_s = 2000,
                       .warm_up = std::chrono::seconds(1),
                       .duration = std::chrono::seconds(5)};
  std::string commit;                               // that is measured
  std::filesystem::path reports = "bench/reports";  // the report is kept there, as text and JSON
  std::filesystem::path json_file;                  // also written there; empty: none
};

// Blocks. Call it before any thread is started. kNothingThere when a cell could not be measured;
// the others are in the report nevertheless.
BenchExit RunMatrixBlocking(const MatrixOptions& options, const Clock& clock, std::ostream& out,
                            std::ostream& err);

}  // namespace bulla
