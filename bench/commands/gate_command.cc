#include "bench/commands/gate_command.h"

#include <algorithm>
#include <cmath>

#include "bench/commands/capacity_command.h"
#include "bench/report/output_file.h"

namespace bulla {
namespace {

// What the service holds by the gate's own limits.
absl::StatusOr<double> CapacityBlocking(const GateOptions& options, const ChosenService& service,
                                        const Clock& clock, std::ostream& err) {
  err << "the capacity first; --rate sets a rate without it" << std::endl;
  CapacityOptions capacity;
  capacity.run.traffic = options.run.traffic;
  capacity.run.keys = options.run.keys;
  capacity.run.seed = options.run.seed;
  // A short gate is not to be preceded by a long search.
  capacity.run.duration = std::min(capacity.run.duration, options.run.duration);
  capacity.run.warm_up = std::min(capacity.run.warm_up, options.run.warm_up);
  capacity.limits = {.p99_ms = options.limits.p99_ms,
                     .lost_percent = options.limits.lost_percent,
                     .cpu_percent = options.limits.cpu_percent};
  BULLA_ASSIGN_OR_RETURN(CapacityReport report,
                         FindCapacityBlocking(capacity, service, clock, err));
  if (report.held_per_s > 0) return report.held_per_s;
  return absl::FailedPreconditionError("no rate held: there is no capacity to take a share of");
}

absl::StatusOr<GateReport> MeasureGateBlocking(const GateOptions& options,
                                               const ChosenService& service, const Clock& clock,
                                               std::ostream& err) {
  GateReport report{.machine = ThisMachine(), .service = service.description()};
  RunDescription run = options.run;
  if (run.rate_per_s <= 0) {
    BULLA_ASSIGN_OR_RETURN(report.capacity_per_s, CapacityBlocking(options, service, clock, err));
    run.rate_per_s = std::max(1.0, std::round(*report.capacity_per_s * options.share_of_capacity));
  }
  BULLA_RETURN_IF_ERROR(CheckAnswersFit(run));
  std::vector<BenchKey> keys;
  BULLA_ASSIGN_OR_RETURN(report.measurement,
                         MeasureBlocking(service.service(), run, /*watch=*/true, keys, clock, err,
                                         [&err](const LoadProgress& progress) {
                                           err << ProgressLine(progress) << std::endl;
                                         }));
  report.criteria = Judge(report.measurement, options.limits, report.machine.cpus);
  return report;
}

}  // namespace

BenchExit RunGateBlocking(const GateOptions& options, const Clock& clock, std::ostream& out,
                          std::ostream& err) {
  absl::StatusOr<std::ofstream> json = OpenOutput(options.json_file);
  if (!json.ok()) return Fail(json.status(), err);
  absl::StatusOr<ChosenService> service = ChosenService::OpenBlocking(options.service, clock, err);
  if (!service.ok()) return Fail(service.status(), err);
  absl::StatusOr<GateReport> report = MeasureGateBlocking(options, *service, clock, err);
  if (!report.ok()) return Fail(report.status(), err);
  out << GateText(*report);
  absl::Status written = WriteOutput(GateJson(*report), options.json_file, *json);
  if (!written.ok()) return Fail(written, err);
  return AllMet(report->criteria) ? BenchExit::kOk : BenchExit::kMissed;
}

}  // namespace bulla
