#pragma once

// The figures of a run, as text and as JSON. Pure functions.

#include <string>

#include <boost/json/object.hpp>

#include "bench/load/load.h"
#include "bench/load/verification.h"
#include "bench/report/run_description.h"

namespace bulla {

double RatePerSecond(const RunDescription& run, const LoadResult& result);  // of good answers
double GeneratorCpuUs(const LoadResult& result);                            // per request

// One line, without its end.
std::string ProgressLine(const LoadProgress& progress);
std::string TextReport(const RunDescription& run, const LoadResult& result,
                       const Verification& verification);
// Latencies of good answers, in ms.
boost::json::object RunJson(const RunDescription& run, const LoadResult& result,
                            const Verification& verification);
// The same as one line, with its end.
std::string JsonReport(const RunDescription& run, const LoadResult& result,
                       const Verification& verification);

}  // namespace bulla
