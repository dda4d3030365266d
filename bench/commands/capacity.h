#pragma once

// The highest paced rate that a service holds: steps up until one breaks, then halves what is left
// between. Pure: which rate is next, and the report; bench/commands/capacity_command.cc measures.

#include <optional>
#include <string>
#include <vector>

#include "bench/report/run_description.h"
#include "bench/target/machine.h"

namespace bulla {

// When a step counts as held: the promise of spec S13, with the queue left out.
struct CapacityLimits {
  double p99_ms = 10;
  double lost_percent = 0.5;  // failed or dropped
  double cpu_percent = 75;    // of all CPUs, by gateway and enclaves
};

struct CapacityStep {
  double rate_per_s = 0;      // that was due
  double achieved_per_s = 0;  // good answers
  double p50_ms = 0;
  double p99_ms = 0;
  double lost_percent = 0;
  double cpu_percent = 0;
  double machine_busy_percent = 0;
  double generator_cpu_us = 0;
};

// What broke, "p99, CPU"; empty when the step held.
std::string BrokenBy(const CapacityStep& step, const CapacityLimits& limits);

// Confined to one thread.
class CapacitySearch {
 public:
  static constexpr double kStep = 1.5;         // from one rate to the next while all hold
  static constexpr double kResolution = 0.05;  // it ends when held and broken are so close
  // A step that breaks is tried once more: a burst of somebody else's work breaks one, too.
  static constexpr int kTries = 2;

  CapacitySearch(double first_per_s, double highest_per_s)
      : next_per_s_(first_per_s), highest_per_s_(highest_per_s) {}

  // Nothing: the search has ended.
  std::optional<double> Next() const;
  // What became of the rate that Next gave.
  void Record(bool held);
  // The highest that held; 0 when none did.
  double held_per_s() const { return held_per_s_; }

 private:
  double next_per_s_;
  const double highest_per_s_;
  double held_per_s_ = 0;
  std::optional<double> broken_per_s_;
  int failures_ = 0;  // of the rate at hand
};

struct CapacityReport {
  Machine machine;
  std::string service;
  RunDescription run;  // of each step, but for its rate
  CapacityLimits limits;
  std::vector<CapacityStep> steps;
  double held_per_s = 0;
};

std::string CapacityHeadline();  // over the rows; both with their ends
std::string CapacityRow(const CapacityStep& step, const CapacityLimits& limits);
std::string CapacityText(const CapacityReport& report);
std::string CapacityJson(const CapacityReport& report);  // one line, with its end

}  // namespace bulla
