// Any bytes as an enclave's answer to a probe: what comes out has the shape that the metrics and
// the unlock queue rely on.

#include <algorithm>
#include <cstdlib>

#include "wire/codec.h"
#include "wire/enclave.pb.h"
#include "wire/enclave_report.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bulla::wire::v1::ProbeReply reply;
  if (!reply.ParseFromArray(data, static_cast<int>(size))) return 0;
  bulla::EnclaveReport report = bulla::DecodeReport(reply);
  if (bulla::DecodeDeksToRenew(reply).size() > bulla::kDeksToRenewMax) std::abort();
  bulla::EnclaveReport before;
  before.number("workers") = 1;
  const double ratio = bulla::WorkerBusyRatio(before, report);
  if (!(ratio >= 0 && ratio <= 1)) std::abort();
  for (const auto& histogram : report.histograms) {
    if (!histogram) continue;
    if (histogram->counts.size() != histogram->bounds.size() + 1 ||
        histogram->bounds.size() > bulla::EnclaveReport::kHistogramBoundsMax ||
        !std::ranges::is_sorted(histogram->bounds)) {
      std::abort();
    }
  }
  // What was taken is what the same report would be sent as.
  bulla::wire::v1::ProbeReply again;
  bulla::EncodeReport(report, again);
  if (bulla::DecodeReport(again) != report) std::abort();
  return 0;
}
