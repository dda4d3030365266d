#include "gateway/admin/store_metrics.h"

#include <string>
#include <utility>

namespace bulla {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

ClientMetric Counted(std::uint64_t count) {
  ClientMetric metric;
  metric.counter.value = static_cast<double>(count);
  return metric;
}

}  // namespace

std::vector<MetricFamily> StoreFamilies(const StoreHealth& health, std::int64_t transactions) {
  MetricFamily writable{"bulla_store_writable",
                        "1: keys can be stored; 0: they cannot, and none is made",
                        MetricType::Gauge,
                        {}};
  writable.metric.emplace_back().gauge.value = health.writable() ? 1 : 0;

  MetricFamily failures{"bulla_store_write_failures_total",
                        "Transactions that failed, and changes to the file that were noticed",
                        MetricType::Counter,
                        {}};
  for (std::size_t i = 1; i < kStoreFaultCount; ++i) {
    ClientMetric metric = Counted(health.failures[i]);
    metric.label = {{"fault", std::string(StoreFaultName(static_cast<StoreFault>(i)))}};
    failures.metric.push_back(std::move(metric));
  }

  MetricFamily committed{"bulla_store_transactions_total",
                         "Transactions committed; with group commit fewer than keys",
                         MetricType::Counter,
                         {Counted(static_cast<std::uint64_t>(transactions))}};
  return {std::move(writable), std::move(failures), std::move(committed)};
}

}  // namespace bulla
