#include "bench/load/measurement.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "bench/load/key_maker.h"
#include "bench/load/load.h"
#include "bench/load/progress.h"

namespace bulla {
namespace {

// What is read at the edges of the measured part.
struct Edge {
  ServiceCpu cpu;
  MachineTime machine;
  MonotonicTime time;
  std::uint64_t answers = 0;
};

std::uint64_t WholeSeconds(Duration time) {
  return static_cast<std::uint64_t>(time / std::chrono::seconds(1));
}

}  // namespace

double CpuPercent(const Measurement& measurement, std::size_t cpus) {
  std::chrono::duration<double> cpu = measurement.cpu.gateway + measurement.cpu.enclaves;
  std::chrono::duration<double> time = measurement.time;
  return time.count() > 0 ? 100 * cpu.count() / (time.count() * static_cast<double>(cpus)) : 0;
}

double LostPercent(const Measurement& measurement) {
  const LoadResult& load = measurement.load;
  double requests = static_cast<double>(std::max<std::uint64_t>(load.requests, 1));
  return 100 * static_cast<double>(load.failed + load.malformed + load.dropped) / requests;
}

std::optional<double> MeanQueueDepth(const Measurement& measurement) {
  double sum = 0;
  double samples = 0;
  for (const WatchSample& sample : measurement.samples) {
    if (!sample.queue_depth) continue;
    sum += *sample.queue_depth;
    ++samples;
  }
  return samples > 0 ? std::optional(sum / samples) : std::nullopt;
}

std::optional<double> CrossingsPerSignature(const Measurement& measurement) {
  std::optional<double> first;
  std::optional<double> last;
  for (const WatchSample& sample : measurement.samples) {
    if (!sample.crossings) continue;
    if (!first) {
      first = sample.crossings;
    } else {
      last = sample.crossings;
    }
  }
  const Verification& verification = measurement.verification;
  double signatures = static_cast<double>(verification.right + verification.warm_up_right);
  if (!last || signatures == 0) return std::nullopt;
  return (*last - *first) / signatures;
}

double CpuUsPerSignature(const Measurement& measurement) {
  std::chrono::duration<double, std::micro> cpu =
      measurement.cpu.gateway + measurement.cpu.enclaves;
  return cpu.count() / static_cast<double>(std::max<std::uint64_t>(measurement.signatures, 1));
}

absl::StatusOr<Measurement> MeasureBlocking(
    const Service& service, const RunDescription& run, bool watch, std::vector<BenchKey>& keys,
    const Clock& clock, std::ostream& err, const std::function<void(const LoadProgress&)>& report) {
  Measurement measurement{.run = run};
  measurement.run.url = service.AddressFor(run.traffic.protocol);
  BULLA_ASSIGN_OR_RETURN(Target target, ResolveBlocking(measurement.run.url));
  if (keys.empty()) {
    BULLA_ASSIGN_OR_RETURN(keys,
                           MakeKeysBlocking(target, run.traffic.protocol, run.keys, clock, err));
  }
  absl::Status seen;
  std::vector<Edge> edges;
  LoadPlan plan{
      .schedule = ScheduleFor(run),
      .traffic = run.traffic,
      .keys = keys,
      .seed = run.seed,
      .at_edge = [&](std::uint64_t answers) {
        absl::StatusOr<ServiceCpu> cpu = CpuTimeOf(service);
        seen.Update(cpu.status());
        edges.push_back({cpu.value_or(ServiceCpu{}), MachineTimeNow(), clock.Now(), answers});
      }};
  std::optional<ServiceWatch> watcher;
  if (watch) watcher.emplace(service, clock);
  if (report) {
    BULLA_ASSIGN_OR_RETURN(measurement.load, RunLoadBlocking(plan, target, clock, report));
  } else {
    Progress seconds("load, seconds", WholeSeconds(run.warm_up + run.duration), clock, err);
    BULLA_ASSIGN_OR_RETURN(measurement.load,
                           RunLoadBlocking(plan, target, clock, [&](const LoadProgress& progress) {
                             seconds.Show(WholeSeconds(progress.since_start));
                           }));
  }
  if (watcher) measurement.samples = watcher->EndBlocking();
  BULLA_RETURN_IF_ERROR(seen);

  measurement.cpu = edges[1].cpu - edges[0].cpu;
  measurement.time = edges[1].time - edges[0].time;
  measurement.signatures = edges[1].answers - edges[0].answers;
  measurement.machine_busy_percent = BusyPercent(edges[0].machine, edges[1].machine);
  measurement.verification = VerifyBlocking(measurement.load.answers, keys, run.seed, clock, err);
  if (measurement.verification.wrong > 0) {
    return absl::DataLossError("WRONG: " + measurement.verification.first_wrong);
  }
  if (measurement.load.malformed > 0) {
    return absl::DataLossError("an answer makes no sense: " + measurement.load.first_error);
  }
  return measurement;
}

}  // namespace bulla
