#pragma once

// The gate (spec S13): a paced load that the service has to bear, each criterion with what was
// measured. Pure: the criteria and the report; bench/commands/gate_command.cc measures.

#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "bench/load/measurement.h"
#include "bench/target/machine.h"

namespace bulla {

struct GateLimits {
  double p99_ms = 10;
  double lost_percent = 0.5;  // dropped, failed, or an answer that makes no sense
  double cpu_percent = 75;    // of all CPUs, by gateway and enclaves
  double queue_depth = 1;     // engine_q_depth, the mean
};

// Met when the value is there and below the limit.
struct Criterion {
  std::string name;  // as in JSON
  std::string unit;
  double limit = 0;
  std::optional<double> value;  // nothing: the service did not say

  bool met() const { return value && *value < limit; }
};

std::vector<Criterion> Judge(const Measurement& measurement, const GateLimits& limits,
                             std::size_t cpus);
bool AllMet(const std::vector<Criterion>& criteria);

// The first sample, the first of each minute, and the last.
std::vector<WatchSample> MemoryByMinute(const std::vector<WatchSample>& samples);

struct GateReport {
  Machine machine;
  std::string service;
  std::optional<double> capacity_per_s;  // when it was measured first
  Measurement measurement;
  std::vector<Criterion> criteria;
};

std::string GateText(const GateReport& report);
// One object on one line, with its end: those of a run, and the gate's.
std::string GateJson(const GateReport& report);

}  // namespace bulla
