#include "base/metrics.h"

#include <prometheus/text_serializer.h>
#include <utility>

namespace bulla {

prometheus::Counter& Metrics::AddCounter(const std::string& name, const std::string& help,
                                         const Labels& labels) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry_).Add(labels);
}

prometheus::Gauge& Metrics::AddGauge(const std::string& name, const std::string& help,
                                     const Labels& labels) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels);
}

prometheus::Histogram& Metrics::AddHistogram(const std::string& name, const std::string& help,
                                             const std::vector<double>& buckets,
                                             const Labels& labels) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add(labels,
                                                                                    buckets);
}

void Metrics::AddSource(Source source) {
  MutexLock lock(mutex_);
  sources_.push_back(std::move(source));
}

std::string Metrics::Exposition() const {
  std::vector<Source> sources;
  {
    MutexLock lock(mutex_);
    sources = sources_;
  }
  std::vector<prometheus::MetricFamily> families = registry_.Collect();
  for (const Source& source : sources) {
    for (prometheus::MetricFamily& family : source()) families.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(families);
}

const std::vector<double>& Metrics::LatencyBucketsMs() {
  static const std::vector<double> kBuckets = {0.1, 0.2, 0.3, 0.5, 0.75, 1,  1.5, 2,   3,   4,
                                               5,   7.5, 10,  15,  25,   50, 100, 250, 500, 1000};
  return kBuckets;
}

}  // namespace bulla
