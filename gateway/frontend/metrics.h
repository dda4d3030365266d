#pragma once

// What HTTP and gRPC count: http_grpc_requests_total{protocol,method,code} and
// sign_latency_ms{phase}.

#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "wire/errors.h"

namespace bulla {

// What was asked for. The items of batches and streams are counted beside the calls that carry
// them.
enum class FrontendMethod {
  kCreate,
  kSign,
  kBatch,
  kBatchItem,
  kStream,
  kStreamItem,
  kGetKey,
  kOther
};
inline constexpr int kFrontendMethodCount = 8;

// Thread-safe.
class FrontendMetrics {
 public:
  // `protocol` is "http" or "grpc".
  FrontendMetrics(Metrics& metrics, const std::string& protocol);

  void Count(FrontendMethod method, ErrorCode code) {
    requests_[static_cast<int>(method)][static_cast<int>(code)]->Increment();
  }
  // From the first byte read to the call handed over; and to its answer composed.
  prometheus::Histogram& parse_latency() { return *parse_latency_; }
  prometheus::Histogram& total_latency() { return *total_latency_; }

 private:
  prometheus::Counter* requests_[kFrontendMethodCount][kErrorCodeCount];
  prometheus::Histogram* parse_latency_;
  prometheus::Histogram* total_latency_;
};

// One thread's observations of a latency, passed on to the histogram (which takes a lock) many at a
// time. Not thread-safe.
class LatencyTally {
 public:
  explicit LatencyTally(prometheus::Histogram& histogram);
  void Observe(Duration latency);
  void Flush();

 private:
  prometheus::Histogram& histogram_;
  std::vector<double> counts_;  // per bucket, the last for what is above all bounds
  double sum_ms_ = 0;
  bool empty_ = true;
};

}  // namespace bulla
