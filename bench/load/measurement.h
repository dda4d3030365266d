#pragma once

// A run against a service whose processes are known: besides what callers see, what it took.

#include <functional>
#include <ostream>
#include <vector>

#include "base/clock.h"
#include "bench/report/report.h"
#include "bench/target/service.h"
#include "bench/target/service_watch.h"

namespace bulla {

struct Measurement {
  RunDescription run;
  LoadResult load;
  Verification verification;
  // Of the measured part, between its two edges.
  ServiceCpu cpu;
  Duration time{};
  std::uint64_t signatures = 0;
  double machine_busy_percent = 0;   // everybody, the generator included
  std::vector<WatchSample> samples;  // warm-up included
};

// The share of all CPUs of this machine that gateway and enclaves took, in percent.
double CpuPercent(const Measurement& measurement, std::size_t cpus);
// Of the requests due those that got no signature, in percent, for whatever reason.
double LostPercent(const Measurement& measurement);
// The mean of the samples that have one; nothing when none has.
std::optional<double> MeanQueueDepth(const Measurement& measurement);

// Crossings between gateway and engine for each signature, from the first sample that has a figure
// to the last; nothing when there are no two. The figures are a probe old.
std::optional<double> CrossingsPerSignature(const Measurement& measurement);
// CPU time per signature of the gateway and of the enclaves together, in us.
double CpuUsPerSignature(const Measurement& measurement);

// Makes keys unless `keys` has some, runs the load, checks every signature. Blocks. `watch`: also
// take samples. UNAVAILABLE when the service is not there or one of its processes ends,
// FAILED_PRECONDITION when it makes no keys, DATA_LOSS when a signature is wrong or an answer makes
// no sense. `report` gets each second of the load; without one (nullptr), and of the rest, `err`
// has how far it is.
absl::StatusOr<Measurement> MeasureBlocking(const Service& service, const RunDescription& run,
                                            bool watch, std::vector<BenchKey>& keys,
                                            const Clock& clock, std::ostream& err,
                                            const std::function<void(const LoadProgress&)>& report);

}  // namespace bulla
