#include "bench/commands/cost.h"

#include <algorithm>
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/check.h"

namespace bulla {

std::string NameOf(CostPhase phase) {
  switch (phase) {
    case CostPhase::kHttp:
      return "http";
    case CostPhase::kHttpUnverified:
      return "http_unverified";
    case CostPhase::kStream:
      return "stream";
    case CostPhase::kStreamUnverified:
      return "stream_unverified";
  }
  return {};
}

bool IsStream(CostPhase phase) {
  return phase == CostPhase::kStream || phase == CostPhase::kStreamUnverified;
}

bool IsUnverified(CostPhase phase) {
  return phase == CostPhase::kHttpUnverified || phase == CostPhase::kStreamUnverified;
}

const CostRound& MedianRound(const std::vector<CostRound>& rounds) {
  BULLA_CHECK(!rounds.empty(), "a phase that is reported was measured");
  std::vector<const CostRound*> sorted;
  sorted.reserve(rounds.size());
  for (const CostRound& round : rounds) sorted.push_back(&round);
  std::sort(sorted.begin(), sorted.end(),
            [](const CostRound* a, const CostRound* b) { return a->ratio() < b->ratio(); });
  return *sorted[(sorted.size() - 1) / 2];
}

std::string CostText(const CostReport& report) {
  std::string text = fmt::format(
      "CPU time of gateway and enclaves per signature; one call of secp256k1_ecdsa_sign of\n"
      "{}\nmeasured between the rounds; {}.\n{}\nhttp: {}; stream: {}.\n{} signatures, all checked "
      "and "
      "right.\n\n",
      report.stock_library, report.service, MachineText(report.machine), TrafficText(report.http),
      TrafficText(report.stream), report.verified);
  text += fmt::format("{:<18}{:>9}{:>9}{:>9}{:>9}{:>8}{:>15}{:>9}{:>9}{:>10}{:>10}\n", "",
                      "gateway", "enclave", "sum us", "stock us", "ratio", "of all rounds", "per s",
                      "refused", "p50 ms", "p99 ms");
  for (const PhaseCost& phase : report.phases) {
    const CostRound& median = MedianRound(phase.rounds);
    auto [low, high] = std::minmax_element(
        phase.rounds.begin(), phase.rounds.end(),
        [](const CostRound& a, const CostRound& b) { return a.ratio() < b.ratio(); });
    text += fmt::format(
        "{:<18}{:>9.1f}{:>9.1f}{:>9.1f}{:>9.1f}{:>8.2f}{:>15}{:>9.0f}{:>9}{:>10.3f}"
        "{:>10.3f}\n",
        NameOf(phase.phase), median.gateway_us, median.enclave_us, median.sum_us(), median.stock_us,
        median.ratio(), fmt::format("{:.2f}-{:.2f}", low->ratio(), high->ratio()),
        median.rate_per_s, median.refused, median.p50_ms, median.p99_ms);
  }
  return text;
}

std::string CostJson(const CostReport& report) {
  boost::json::object object{{"command", "cost"},
                             {"machine", MachineJson(report.machine)},
                             {"stock_library", report.stock_library},
                             {"service", report.service},
                             {"http_traffic", TrafficText(report.http)},
                             {"stream_traffic", TrafficText(report.stream)},
                             {"verified", report.verified}};
  for (const PhaseCost& phase : report.phases) {
    const CostRound& median = MedianRound(phase.rounds);
    boost::json::array ratios;
    for (const CostRound& round : phase.rounds) ratios.push_back(round.ratio());
    object["cost_ratio_" + NameOf(phase.phase)] = median.ratio();
    object[NameOf(phase.phase)] = {
        {"gateway_us", median.gateway_us}, {"enclave_us", median.enclave_us},
        {"sum_us", median.sum_us()},       {"stock_us", median.stock_us},
        {"ratio", median.ratio()},         {"ratios", std::move(ratios)},
        {"rate_per_s", median.rate_per_s}, {"signatures", median.signatures},
        {"refused", median.refused},       {"p50_ms", median.p50_ms},
        {"p99_ms", median.p99_ms}};
  }
  return boost::json::serialize(object) + "\n";
}

}  // namespace bulla
