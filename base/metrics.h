#pragma once

// Metrics, exposed in Prometheus' text format. One Metrics per process, made in main and handed to
// the parts that count. Names in spec.md are a contract; labels come from closed sets, never a key,
// a request or a caller's address. (An enclave's address is of a closed set: the configuration.)

#include <functional>
#include <map>
#include <memory>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace bulla {

// Thread-safe. What it returns lives as long as it does and is thread-safe too; fetch once, keep.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  prometheus::Counter& AddCounter(const std::string& name, const std::string& help,
                                  const Labels& labels = {});
  prometheus::Gauge& AddGauge(const std::string& name, const std::string& help,
                              const Labels& labels = {});
  // `buckets` are upper bounds, ascending, without +Inf.
  prometheus::Histogram& AddHistogram(const std::string& name, const std::string& help,
                                      const std::vector<double>& buckets,
                                      const Labels& labels = {});

  // For what is counted elsewhere, and so cannot be counted here again: `source` is asked at each
  // Exposition(), on its thread, and must be thread-safe and not block. What it uses must outlive
  // the last Exposition(). Its families' names must be nobody else's.
  using Source = std::function<std::vector<prometheus::MetricFamily>()>;
  void AddSource(Source source) BULLA_EXCLUDES(mutex_);

  // The whole of it in the text exposition format, version 0.0.4.
  std::string Exposition() const BULLA_EXCLUDES(mutex_);

  // Upper bounds in milliseconds for request latencies: 0.1 ms to 1 s, close together round the
  // 10 ms of the objective.
  static const std::vector<double>& LatencyBucketsMs();

 private:
  prometheus::Registry registry_;
  mutable Mutex mutex_;
  std::vector<Source> sources_ BULLA_GUARDED_BY(mutex_);
};

}  // namespace bulla
