#include "bench/commands/capacity_command.h"

#include "bench/load/measurement.h"
#include "bench/report/output_file.h"
#include "bench/report/units.h"

namespace bulla {
namespace {

constexpr double kHighestPerS = 1e6;

CapacityStep StepOf(const Measurement& measurement, std::size_t cpus) {
  const LatencyHistogram& latency = measurement.load.latency;
  return {.rate_per_s = measurement.run.rate_per_s,
          .achieved_per_s = RatePerSecond(measurement.run, measurement.load),
          .p50_ms = Ms(latency.Quantile(0.5)),
          .p99_ms = Ms(latency.Quantile(0.99)),
          .lost_percent = LostPercent(measurement),
          .cpu_percent = CpuPercent(measurement, cpus),
          .machine_busy_percent = measurement.machine_busy_percent,
          .generator_cpu_us = GeneratorCpuUs(measurement.load)};
}

}  // namespace

absl::StatusOr<CapacityReport> FindCapacityBlocking(const CapacityOptions& options,
                                                    const ChosenService& service,
                                                    const Clock& clock, std::ostream& rows) {
  CapacityReport report{.machine = ThisMachine(),
                        .service = service.description(),
                        .run = options.run,
                        .limits = options.limits};
  CapacitySearch search(options.first_per_s, kHighestPerS);
  std::vector<BenchKey> keys;
  rows << CapacityHeadline() << std::flush;
  while (std::optional<double> rate_per_s = search.Next()) {
    RunDescription run = options.run;
    run.rate_per_s = *rate_per_s;
    BULLA_ASSIGN_OR_RETURN(
        Measurement measurement,
        MeasureBlocking(service.service(), run, /*watch=*/false, keys, clock, rows, nullptr));
    report.steps.push_back(StepOf(measurement, report.machine.cpus));
    rows << CapacityRow(report.steps.back(), options.limits) << std::flush;
    search.Record(BrokenBy(report.steps.back(), options.limits).empty());
  }
  report.held_per_s = search.held_per_s();
  return report;
}

BenchExit RunCapacityBlocking(const CapacityOptions& options, const Clock& clock, std::ostream& out,
                              std::ostream& err) {
  absl::StatusOr<std::ofstream> json = OpenOutput(options.json_file);
  if (!json.ok()) return Fail(json.status(), err);
  absl::StatusOr<ChosenService> service = ChosenService::OpenBlocking(options.service, clock, err);
  if (!service.ok()) return Fail(service.status(), err);
  absl::StatusOr<CapacityReport> report = FindCapacityBlocking(options, *service, clock, err);
  if (!report.ok()) return Fail(report.status(), err);
  out << CapacityText(*report);
  absl::Status written = WriteOutput(CapacityJson(*report), options.json_file, *json);
  return written.ok() ? BenchExit::kOk : Fail(written, err);
}

}  // namespace bulla
