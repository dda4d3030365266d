#include "bench/commands/capacity.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "bench/report/units.h"

namespace bulla {

std::string BrokenBy(const CapacityStep& step, const CapacityLimits& limits) {
  std::string broken;
  auto add = [&broken](std::string_view what) {
    if (!broken.empty()) broken += ", ";
    broken += what;
  };
  if (step.achieved_per_s <= 0) add("no answers");  // of which there is no p99
  if (step.p99_ms >= limits.p99_ms) add("p99");
  if (step.lost_percent >= limits.lost_percent) add("lost");
  if (step.cpu_percent >= limits.cpu_percent) add("CPU");
  return broken;
}

std::optional<double> CapacitySearch::Next() const {
  if (next_per_s_ > highest_per_s_) return std::nullopt;
  // Rates are whole, and nobody is asked for fractions.
  bool close =
      broken_per_s_ && *broken_per_s_ <= std::max(held_per_s_ * (1 + kResolution), held_per_s_ + 1);
  return close ? std::nullopt : std::optional(next_per_s_);
}

void CapacitySearch::Record(bool held) {
  if (!held && ++failures_ < kTries) return;
  failures_ = 0;
  (held ? held_per_s_ : broken_per_s_.emplace()) = next_per_s_;
  next_per_s_ = broken_per_s_ ? std::round((held_per_s_ + *broken_per_s_) / 2)
                              : std::round(next_per_s_ * kStep);
}

std::string CapacityHeadline() {
  return fmt::format("{:>9}{:>11}{:>10}{:>10}{:>8}{:>8}{:>10}{:>12}   {}\n", "due/s", "answered/s",
                     "p50 ms", "p99 ms", "lost %", "CPU %", "machine %", "generator us", "");
}

std::string CapacityRow(const CapacityStep& step, const CapacityLimits& limits) {
  const std::string broken = BrokenBy(step, limits);
  return fmt::format("{:>9.0f}{:>11.0f}{:>10.3f}{:>10.3f}{:>8.2f}{:>8.1f}{:>10.1f}{:>12.1f}   {}\n",
                     step.rate_per_s, step.achieved_per_s, step.p50_ms, step.p99_ms,
                     step.lost_percent, step.cpu_percent, step.machine_busy_percent,
                     step.generator_cpu_us, broken.empty() ? "held" : "broke: " + broken);
}

std::string CapacityText(const CapacityReport& report) {
  std::string text = fmt::format(
      "{} at {}\n{}\n{}; open loop, {:g} s a step\nheld: p99 < {:g} ms, lost < {:g} %, CPU of "
      "gateway "
      "and enclaves < {:g} %\n\n{}",
      CallOf(report.run.traffic.protocol), report.service, MachineText(report.machine),
      TrafficText(report.run.traffic), Seconds(report.run.duration), report.limits.p99_ms,
      report.limits.lost_percent, report.limits.cpu_percent, CapacityHeadline());
  for (const CapacityStep& step : report.steps) text += CapacityRow(step, report.limits);
  return text + (report.held_per_s > 0
                     ? fmt::format("\n{:.0f} signatures per second held\n", report.held_per_s)
                     : "\nno rate held\n");
}

std::string CapacityJson(const CapacityReport& report) {
  boost::json::array steps;
  for (const CapacityStep& step : report.steps) {
    steps.push_back(boost::json::object{{"rate_per_s", step.rate_per_s},
                                        {"achieved_per_s", step.achieved_per_s},
                                        {"p50_ms", step.p50_ms},
                                        {"p99_ms", step.p99_ms},
                                        {"lost_percent", step.lost_percent},
                                        {"cpu_percent", step.cpu_percent},
                                        {"machine_busy_percent", step.machine_busy_percent},
                                        {"generator_cpu_us", step.generator_cpu_us},
                                        {"held", BrokenBy(step, report.limits).empty()}});
  }
  boost::json::object object{{"command", "capacity"},
                             {"machine", MachineJson(report.machine)},
                             {"service", report.service},
                             {"protocol", std::string(NameOf(report.run.traffic.protocol))},
                             {"connections", report.run.traffic.connections},
                             {"step_seconds", Seconds(report.run.duration)},
                             {"p99_max_ms", report.limits.p99_ms},
                             {"lost_max_percent", report.limits.lost_percent},
                             {"cpu_max_percent", report.limits.cpu_percent},
                             {"capacity_per_s", report.held_per_s},
                             {"steps", std::move(steps)}};
  return boost::json::serialize(object) + "\n";
}

}  // namespace bulla
