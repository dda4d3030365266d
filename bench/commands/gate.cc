#include "bench/commands/gate.h"

#include <algorithm>
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "bench/report/units.h"

namespace bulla {
namespace {

constexpr Duration kMemoryEvery = std::chrono::minutes(1);

std::string CriterionText(const Criterion& criterion) {
  std::string value = criterion.value ? fmt::format("{:.3f}", *criterion.value) : "unknown";
  return fmt::format("{:<8}{:<18}{:>12} < {:g} {}\n", criterion.met() ? "met" : "MISSED",
                     criterion.name, value, criterion.limit, criterion.unit);
}

}  // namespace

std::vector<Criterion> Judge(const Measurement& measurement, const GateLimits& limits,
                             std::size_t cpus) {
  const LatencyHistogram& latency = measurement.load.latency;
  std::optional<double> p99_ms;  // of no answers there is none
  if (latency.count() > 0) p99_ms = Ms(latency.Quantile(0.99));
  return {{"p99_ms", "ms", limits.p99_ms, p99_ms},
          {"lost_percent", "%", limits.lost_percent, LostPercent(measurement)},
          {"cpu_percent", "%", limits.cpu_percent, CpuPercent(measurement, cpus)},
          {"engine_q_depth", "jobs", limits.queue_depth, MeanQueueDepth(measurement)}};
}

bool AllMet(const std::vector<Criterion>& criteria) {
  return std::all_of(criteria.begin(), criteria.end(),
                     [](const Criterion& criterion) { return criterion.met(); });
}

std::vector<WatchSample> MemoryByMinute(const std::vector<WatchSample>& samples) {
  std::vector<WatchSample> chosen;
  Duration next{};
  for (const WatchSample& sample : samples) {
    if (sample.at < next) continue;
    chosen.push_back(sample);
    while (next <= sample.at) next += kMemoryEvery;
  }
  if (!samples.empty() && chosen.back().at != samples.back().at) chosen.push_back(samples.back());
  return chosen;
}

std::string GateText(const GateReport& report) {
  const Measurement& measurement = report.measurement;
  std::string text = TextReport(measurement.run, measurement.load, measurement.verification) +
                     fmt::format("\n{}\n{}\n", report.service, MachineText(report.machine));
  if (report.capacity_per_s) {
    text += fmt::format("{:.0f} per second held before; the gate was at {:g}\n",
                        *report.capacity_per_s, measurement.run.rate_per_s);
  }
  text += fmt::format("the whole machine was busy for {:.1f} % of the time\n",
                      measurement.machine_busy_percent);
  text += fmt::format("\n{:<12}{:>16}{:>16}\n", "memory", "gateway MiB", "enclaves MiB");
  for (const WatchSample& sample : MemoryByMinute(measurement.samples)) {
    text += fmt::format("{:<12}{:>16.1f}{:>16.1f}\n", fmt::format("{:.0f} s", Seconds(sample.at)),
                        MiB(sample.gateway_bytes), MiB(sample.enclave_bytes));
  }
  text += "\n";
  for (const Criterion& criterion : report.criteria) text += CriterionText(criterion);
  return text + (AllMet(report.criteria) ? "\nthe gate is passed\n" : "\nTHE GATE IS MISSED\n");
}

std::string GateJson(const GateReport& report) {
  const Measurement& measurement = report.measurement;
  boost::json::object object = RunJson(measurement.run, measurement.load, measurement.verification);
  object["command"] = "gate";
  object["machine"] = MachineJson(report.machine);
  object["service"] = report.service;
  if (report.capacity_per_s) object["capacity_per_s"] = *report.capacity_per_s;
  object["machine_busy_percent"] = measurement.machine_busy_percent;
  boost::json::array criteria;
  for (const Criterion& criterion : report.criteria) {
    boost::json::value value;  // null: unknown
    if (criterion.value) value = *criterion.value;
    object[criterion.name] = value;
    criteria.push_back(boost::json::object{{"name", criterion.name},
                                           {"unit", criterion.unit},
                                           {"limit", criterion.limit},
                                           {"value", value},
                                           {"met", criterion.met()}});
  }
  object["criteria"] = std::move(criteria);
  object["passed"] = AllMet(report.criteria);
  boost::json::array memory;
  for (const WatchSample& sample : MemoryByMinute(measurement.samples)) {
    memory.push_back(boost::json::object{{"seconds", Seconds(sample.at)},
                                         {"gateway_bytes", sample.gateway_bytes},
                                         {"enclave_bytes", sample.enclave_bytes}});
  }
  object["memory"] = std::move(memory);
  return boost::json::serialize(object) + "\n";
}

}  // namespace bulla
