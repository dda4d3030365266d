#pragma once

// What enclaves report in their probes, as metrics of the gateway: enclaves have no listener of
// their own to be scraped at. Pure.

#include <prometheus/metric_family.h>
#include <vector>

#include "gateway/enclave_link.h"

namespace bulla {

// One series for each enclave that was ever reached, with its address as the label `enclave`. What
// an enclave held is gone with it, so its gauges are there only while it is ready; its counters
// stay as they were last.
std::vector<prometheus::MetricFamily> EnclaveFamilies(
    const std::vector<EnclaveLink::Status>& enclaves);

}  // namespace bulla
