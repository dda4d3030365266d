#pragma once

// The figures of a run, as text and as JSON. Pure functions.

#include <string>

#include "bench/load.h"
#include "bench/verification.h"

namespace bulla {

// What was run, for whoever reads the figures later.
struct RunDescription {
  std::string url;
  Traffic traffic;
  double rate_per_s = 0;  // 0: closed loop
  int keys = 16;
  Duration warm_up = std::chrono::seconds(2);
  Duration duration = std::chrono::seconds(10);
  std::uint64_t seed = 0;
};

// One line, without its end.
std::string ProgressLine(const LoadProgress& progress);
std::string TextReport(const RunDescription& run, const LoadResult& result,
                       const Verification& verification);
// One object on one line, with its end. Latencies of good answers, in ms.
std::string JsonReport(const RunDescription& run, const LoadResult& result,
                       const Verification& verification);

}  // namespace bulla
