// Any bytes as an enclave's answer to a probe: what comes out has the shape that the metrics and
// the unlock queue rely on.

#include <algorithm>
#include <cstdlib>

#include "gateway/link/enclave_report.h"
#include "wire/codec.h"
#include "wire/enclave.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bulla::wire::v1::ProbeReply reply;
  if (!reply.ParseFromArray(data, static_cast<int>(size))) return 0;
  bulla::EnclaveReport report = bulla::DecodeReport(reply);
  if (bulla::DecodeDeksToRenew(reply).size() > bulla::kDeksToRenewMax) std::abort();
  const double ratio = bulla::WorkerBusyRatio({.workers = 1}, report);
  if (!(ratio >= 0 && ratio <= 1)) std::abort();
  for (const auto* histogram :
       {&report.rehydrate_latency_ms, &report.sign_cpu_us, &report.batch_size}) {
    if (!*histogram) continue;
    if ((*histogram)->counts.size() != (*histogram)->bounds.size() + 1 ||
        (*histogram)->bounds.size() > bulla::EnclaveReport::kHistogramBoundsMax ||
        !std::ranges::is_sorted((*histogram)->bounds)) {
      std::abort();
    }
  }
  return 0;
}
