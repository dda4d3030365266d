#pragma once

// The command line of `bulla-bench`: what may stand there, what it means, and who carries it out.

#include <filesystem>
#include <ostream>

#include "base/build_info.h"
#include "base/clock.h"
#include "bench/commands/exit.h"

namespace bulla {

// What the program knows besides its arguments.
struct BenchSurroundings {
  const char* url = nullptr;          // $BULLA_URL; null or empty: not set
  std::filesystem::path program_dir;  // where `bulla` is
  int out_fd = -1;                    // under `out`; -1: none
  BuildInfo build;                    // this program's
};

// Blocks. Reports go to `out`, progress and complaints to `err`. Call it before any thread is
// started.
BenchExit RunBenchBlocking(int argc, const char* const* argv, const BenchSurroundings& surroundings,
                           const Clock& clock, std::ostream& out, std::ostream& err);

}  // namespace bulla
