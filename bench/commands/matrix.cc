#include "bench/commands/matrix.h"

#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "bench/report/units.h"

namespace bulla {
namespace {

std::tm Utc(WallTime time) { return fmt::gmtime(std::chrono::system_clock::to_time_t(time)); }

std::string TextOf(const std::optional<double>& value) {
  return value ? fmt::format("{:.2f}", *value) : "-";
}

boost::json::value JsonOf(const std::optional<double>& value) {
  return value ? boost::json::value(*value) : boost::json::value();
}

}  // namespace

std::vector<MatrixCell> CellsOf(int workers_max, const std::vector<std::string>& batchings,
                                const std::vector<std::string>& signature_checks) {
  std::vector<MatrixCell> cells;
  for (int workers = 1; workers <= workers_max; ++workers) {
    for (const std::string& batching : batchings) {
      for (const std::string& check : signature_checks) {
        cells.push_back({.workers = workers, .batching = batching, .signature_check = check});
      }
    }
  }
  return cells;
}

ServiceOptions OptionsOf(const MatrixCell& cell, const ServiceOptions& base) {
  ServiceOptions options = base;
  options.dev_arguments.insert(options.dev_arguments.end(),
                               {"--workers", fmt::format("{}", cell.workers), "--batching",
                                cell.batching, "--signature-check", cell.signature_check});
  return options;
}

std::string MatrixHeadline() {
  return fmt::format(
      "{:>7} {:>8} {:<10}|{:>9}{:>8}{:>8}{:>7} |{:>8}{:>9}{:>9}{:>9}{:>8}{:>7}{:>11}\n", "workers",
      "batching", "check", "per s", "CPU us", "stock", "ratio", "CPU us", "p50 ms", "p95 ms",
      "p99 ms", "lost %", "queue", "crossings");
}

std::string MatrixRowText(const MatrixRow& row) {
  std::string text = fmt::format("{:>7} {:>8} {:<10}|", row.cell.workers, row.cell.batching,
                                 row.cell.signature_check);
  if (!row.failure.empty()) return text + " " + row.failure + "\n";
  return text + fmt::format(
                    "{:>9.0f}{:>8.1f}{:>8.1f}{:>7.2f} |{:>8.1f}{:>9.3f}{:>9.3f}{:>9.3f}{:>8.2f}"
                    "{:>7}{:>11}\n",
                    row.closed_rate_per_s, row.cpu_us, row.stock_us, row.cost_ratio(),
                    row.paced_cpu_us, row.p50_ms, row.p95_ms, row.p99_ms, row.lost_percent,
                    TextOf(row.queue_depth), TextOf(row.crossings));
}

std::string MatrixText(const MatrixReport& report) {
  std::string text = fmt::format(
      "{} of commit {}, {}\n{}\nstock library: {}\n"
      "left: closed loop, {:g} s, {}\nright: {:g} per second due, {:g} s, {}\n"
      "CPU us: gateway and enclaves, per signature; crossings: per signature; each cell a service "
      "of "
      "its own\n\n{}",
      CallOf(report.paced.traffic.protocol), report.commit, report.began_at,
      MachineText(report.machine), report.stock_library, Seconds(report.closed.duration),
      TrafficText(report.closed.traffic), report.paced.rate_per_s, Seconds(report.paced.duration),
      TrafficText(report.paced.traffic), MatrixHeadline());
  for (const MatrixRow& row : report.rows) text += MatrixRowText(row);
  return text;
}

std::string MatrixJson(const MatrixReport& report) {
  boost::json::array rows;
  for (const MatrixRow& row : report.rows) {
    boost::json::object object{{"workers", row.cell.workers},
                               {"batching", row.cell.batching},
                               {"signature_check", row.cell.signature_check}};
    if (!row.failure.empty()) {
      object["failure"] = row.failure;
    } else {
      object["closed_rate_per_s"] = row.closed_rate_per_s;
      object["cpu_us"] = row.cpu_us;
      object["stock_us"] = row.stock_us;
      object["cost_ratio"] = row.cost_ratio();
      object["paced_cpu_us"] = row.paced_cpu_us;
      object["p50_ms"] = row.p50_ms;
      object["p95_ms"] = row.p95_ms;
      object["p99_ms"] = row.p99_ms;
      object["lost_percent"] = row.lost_percent;
      object["engine_q_depth"] = JsonOf(row.queue_depth);
      object["crossings_per_signature"] = JsonOf(row.crossings);
    }
    rows.push_back(std::move(object));
  }
  boost::json::object object{{"command", "matrix"},
                             {"commit", report.commit},
                             {"began_at", report.began_at},
                             {"machine", MachineJson(report.machine)},
                             {"stock_library", report.stock_library},
                             {"protocol", std::string(NameOf(report.paced.traffic.protocol))},
                             {"closed_seconds", Seconds(report.closed.duration)},
                             {"closed_connections", report.closed.traffic.connections},
                             {"paced_seconds", Seconds(report.paced.duration)},
                             {"paced_rate_per_s", report.paced.rate_per_s},
                             {"paced_connections", report.paced.traffic.connections},
                             {"rows", std::move(rows)}};
  return boost::json::serialize(object) + "\n";
}

std::string ReportName(WallTime time, std::string_view what, std::string_view commit) {
  return fmt::format("{:%Y-%m-%d-%H%M}-{}-{}", Utc(time), what, commit);
}

std::string Iso8601(WallTime time) { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", Utc(time)); }

}  // namespace bulla
