#include "gateway/frontend/metrics.h"

#include <algorithm>

namespace bulla {
namespace {

constexpr const char* kMethodNames[kFrontendMethodCount] = {
    "create",           "sign",    "sign_batch", "sign_batch_item", "sign_stream",
    "sign_stream_item", "get_key", "other"};

prometheus::Histogram& Latency(Metrics& metrics, const std::string& phase) {
  return metrics.AddHistogram("sign_latency_ms", "Time a signature spends in each phase, in ms",
                              Metrics::LatencyBucketsMs(), {{"phase", phase}});
}

}  // namespace

FrontendMetrics::FrontendMetrics(Metrics& metrics, const std::string& protocol)
    : parse_latency_(&Latency(metrics, "parse")), total_latency_(&Latency(metrics, "total")) {
  for (int method = 0; method < kFrontendMethodCount; ++method) {
    for (int code = 0; code < kErrorCodeCount; ++code) {
      std::string name(ErrorRowOf(static_cast<ErrorCode>(code)).name);
      requests_[method][code] = &metrics.AddCounter(
          "http_grpc_requests_total", "Requests answered, by protocol, method and error code",
          {{"protocol", protocol}, {"method", kMethodNames[method]}, {"code", name}});
    }
  }
}

LatencyTally::LatencyTally(prometheus::Histogram& histogram)
    : histogram_(histogram), counts_(Metrics::LatencyBucketsMs().size() + 1) {}

void LatencyTally::Observe(Duration latency) {
  const std::vector<double>& bounds = Metrics::LatencyBucketsMs();
  double ms = std::chrono::duration<double, std::milli>(latency).count();
  auto bucket = std::lower_bound(bounds.begin(), bounds.end(), ms) - bounds.begin();
  counts_[static_cast<std::size_t>(bucket)] += 1;
  sum_ms_ += ms;
  empty_ = false;
}

void LatencyTally::Flush() {
  if (empty_) return;
  histogram_.ObserveMultiple(counts_, sum_ms_);
  std::fill(counts_.begin(), counts_.end(), 0);
  sum_ms_ = 0;
  empty_ = true;
}

}  // namespace bulla
