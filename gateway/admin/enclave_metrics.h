#pragma once

// What enclaves report in their probes, as metrics of the gateway: enclaves have no listener of
// their own to be scraped at. Pure.

#include <prometheus/metric_family.h>
#include <vector>

#include "gateway/routing/fleet.h"

namespace bulla {

// One series for each enclave, with its address as the label `enclave`. What an enclave reports is
// there from when it was first reached; what it held is gone with it, so those gauges are there
// only while it is ready, and its counters stay as they were last.
std::vector<prometheus::MetricFamily> EnclaveFamilies(const std::vector<Fleet::Status>& enclaves);

}  // namespace bulla
