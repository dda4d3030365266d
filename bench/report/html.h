#pragma once

// A report as one HTML page that needs nothing else: no script, nothing from outside, light and
// dark as the reader's system is.

#include <string>

#include "bench/report/page.h"

namespace bulla {

// Plots are inline SVG: latency by percentile, latency and rate over time.
std::string RenderHtml(const ReportPage& page);

}  // namespace bulla
