#include "base/metrics.h"

#include <prometheus/text_serializer.h>

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

std::string Metrics::Exposition() const {
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

const std::vector<double>& Metrics::LatencyBucketsMs() {
  static const std::vector<double> kBuckets = {0.1, 0.2, 0.3, 0.5, 0.75, 1,  1.5, 2,   3,   4,
                                               5,   7.5, 10,  15,  25,   50, 100, 250, 500, 1000};
  return kBuckets;
}

}  // namespace bulla
