#pragma once

// `bulla-bench run`: makes keys, sends the load, checks every signature, reports.

#include <filesystem>
#include <ostream>

#include "base/clock.h"
#include "bench/commands/exit.h"
#include "bench/report/report.h"

namespace bulla {

struct RunOptions {
  RunDescription run;
  std::filesystem::path target;  // endpoints.json of the service, instead of run.url; or empty
  // Empty: none.
  std::filesystem::path json_file;
  std::filesystem::path markdown_file;
  std::filesystem::path html_file;
};

// Blocks. The report goes to `out`, progress and complaints to `err`.
BenchExit RunBlocking(const RunOptions& options, const Clock& clock, std::ostream& out,
                      std::ostream& err);

}  // namespace bulla
