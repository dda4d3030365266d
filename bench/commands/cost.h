#pragma once

// What a signature costs: CPU time of the gateway and of the enclaves for each, beside one call of
// the stock library's secp256k1_ecdsa_sign measured just before and after. Pure: the figures and
// their report; bench/commands/cost_command.cc measures.

#include <cstdint>
#include <string>
#include <vector>

#include "bench/load/latency_histogram.h"
#include "bench/load/traffic.h"
#include "bench/target/machine.h"

namespace bulla {

// One way of asking, of which rounds are measured.
enum class CostPhase { kHttp, kHttpUnverified, kStream, kStreamUnverified };
inline constexpr CostPhase kCostPhases[] = {CostPhase::kHttp, CostPhase::kHttpUnverified,
                                            CostPhase::kStream, CostPhase::kStreamUnverified};
std::string NameOf(CostPhase phase);  // "http_unverified"
bool IsStream(CostPhase phase);
bool IsUnverified(CostPhase phase);  // enclaves that do not check what they signed

// One round of a phase. Times are CPU time in us: of the service per signature, of the stock
// library per call.
struct CostRound {
  double gateway_us = 0;
  double enclave_us = 0;
  double stock_us = 0;
  double rate_per_s = 0;  // signatures
  std::uint64_t signatures = 0;
  std::uint64_t refused =
      0;  // answered with an error, as overload is; their time is in the others'
  double p50_ms = 0;
  double p99_ms = 0;

  double sum_us() const { return gateway_us + enclave_us; }
  double ratio() const { return sum_us() / stock_us; }
};

struct PhaseCost {
  CostPhase phase = CostPhase::kHttp;
  std::vector<CostRound> rounds;
};

// The round with the median ratio, whole, so that its figures belong together; of an even number of
// rounds the lower one. Requires: there is one.
const CostRound& MedianRound(const std::vector<CostRound>& rounds);

struct CostReport {
  Machine machine;
  std::string stock_library;
  std::string service;  // which one was measured
  Traffic http;
  Traffic stream;
  std::uint64_t verified = 0;  // signatures, of all rounds, warm-ups included
  std::vector<PhaseCost> phases;
};

std::string CostText(const CostReport& report);
// One object on one line, with its end: `cost_ratio_<phase>` for each, and its parts in `<phase>`.
std::string CostJson(const CostReport& report);

}  // namespace bulla
