#pragma once

// What an enclave says of itself in a probe, as values, to the wire and from there. To the gateway
// the bytes are the enclave's, hence foreign: what has not the shape that it should have is left
// out here, so that nobody behind has to look. Pure.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "wire/enclave_metrics.h"

namespace bulla::wire::v1 {
class ProbeReply;
}  // namespace bulla::wire::v1

namespace bulla {

// The numbers and histograms of wire/enclave_metrics.h: report.number("signatures"). Each is
// nothing where the enclave does not send it or it is malformed.
struct EnclaveReport {
  struct Histogram {
    std::vector<double> bounds;         // upper bounds, ascending, without +Inf
    std::vector<std::uint64_t> counts;  // one more than bounds, not cumulative
    double sum = 0;

    friend bool operator==(const Histogram&, const Histogram&) = default;
  };
  // Ours has 12. More would be a page of /metrics for each enclave.
  static constexpr std::size_t kHistogramBoundsMax = 64;

  // In the tables' order.
  std::array<std::optional<std::uint64_t>, kEnclaveMetrics.size()> numbers;
  std::array<std::optional<Histogram>, kEnclaveHistograms.size()> histograms;

  std::optional<std::uint64_t>& number(EnclaveMetricId id) { return numbers[id.index]; }
  const std::optional<std::uint64_t>& number(EnclaveMetricId id) const { return numbers[id.index]; }
  std::optional<Histogram>& histogram(EnclaveHistogramId id) { return histograms[id.index]; }
  const std::optional<Histogram>& histogram(EnclaveHistogramId id) const {
    return histograms[id.index];
  }

  friend bool operator==(const EnclaveReport&, const EnclaveReport&) = default;
};

// Adds the report to a reply that has none.
void EncodeReport(const EnclaveReport& report, wire::v1::ProbeReply& reply);

// Fields that no row has are passed over.
EnclaveReport DecodeReport(const wire::v1::ProbeReply& reply);

// The share of the time between two reports that the workers were at work, 0 to 1. 0 when the
// second is not a later one of the same enclave.
double WorkerBusyRatio(const EnclaveReport& before, const EnclaveReport& after);

// The data keys that the enclave wants opened again: at most kDeksToRenewMax, the well-formed ones.
std::vector<DekId> DecodeDeksToRenew(const wire::v1::ProbeReply& reply);

// A text of the enclave's, fit for a log line and a terminal: cut, and plain printable ASCII.
std::string ShownText(std::string_view text);

}  // namespace bulla
