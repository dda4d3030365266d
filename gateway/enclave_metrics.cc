#include "gateway/enclave_metrics.h"

#include <limits>
#include <string>
#include <utility>

namespace bulla {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Statuses = std::vector<EnclaveLink::Status>;

// A number of the report as a metric. Those of one name follow each other and differ in `state`.
struct Row {
  const char* name;
  const char* help;
  MetricType type;
  std::uint64_t EnclaveReport::*value;
  const char* state = nullptr;
};

constexpr char kKeyCacheState[] = "Keys held, by state";

const Row kRows[] = {
    {"key_cache_state", kKeyCacheState, MetricType::Gauge, &EnclaveReport::keys_warm, "WARM"},
    {"key_cache_state", kKeyCacheState, MetricType::Gauge, &EnclaveReport::keys_cool, "COOL"},
    {"key_cache_state", kKeyCacheState, MetricType::Gauge, &EnclaveReport::keys_invalid, "INVALID"},
    {"rehydrate_total", "Plain keys opened from their blobs, refreshes among them",
     MetricType::Counter, &EnclaveReport::rehydrations},
    {"rehydrate_fail", "Plain keys that could not be opened from their blobs", MetricType::Counter,
     &EnclaveReport::rehydrations_failed},
    {"singleflight_waiters", "Signatures that wait for a key to be opened", MetricType::Gauge,
     &EnclaveReport::singleflight_waiters},
    {"hard_expired_rejections_total",
     "Signatures refused because a TTL was over and nothing was renewed in time: 0 outside drills",
     MetricType::Counter, &EnclaveReport::hard_expired_rejections},
    {"engine_q_depth", "Jobs that wait for a worker", MetricType::Gauge,
     &EnclaveReport::queue_depth},
    {"bulla_enclave_key_refreshes_total", "Keys opened again in the background while still usable",
     MetricType::Counter, &EnclaveReport::refreshes},
    {"bulla_enclave_plain_keys_evicted_total", "Plain keys wiped early, for lack of locked memory",
     MetricType::Counter, &EnclaveReport::plain_keys_evicted},
    {"bulla_enclave_blobs_evicted_total", "Blobs dropped, for lack of memory", MetricType::Counter,
     &EnclaveReport::blobs_evicted},
    {"bulla_enclave_key_memory_bytes", "Memory that keys take", MetricType::Gauge,
     &EnclaveReport::key_memory_bytes},
    {"bulla_enclave_key_memory_budget_bytes", "Memory that keys may take", MetricType::Gauge,
     &EnclaveReport::key_memory_budget_bytes},
    {"bulla_enclave_locked_bytes", "Locked memory that plain keys take", MetricType::Gauge,
     &EnclaveReport::locked_bytes},
    {"bulla_enclave_locked_budget_bytes", "Locked memory that plain keys may take",
     MetricType::Gauge, &EnclaveReport::locked_budget_bytes},
    {"bulla_enclave_deks_open", "Data keys that are open", MetricType::Gauge,
     &EnclaveReport::deks_open},
};

ClientMetric NewMetric(const EnclaveLink::Status& enclave) {
  ClientMetric metric;
  metric.label = {{"enclave", enclave.address}};
  return metric;
}

void AppendSeries(const Row& row, const Statuses& enclaves, std::vector<ClientMetric>& out) {
  for (const EnclaveLink::Status& enclave : enclaves) {
    if (!enclave.report || (row.type == MetricType::Gauge && !enclave.ready)) continue;
    ClientMetric metric = NewMetric(enclave);
    if (row.state != nullptr) metric.label.push_back({"state", row.state});
    auto value = static_cast<double>((*enclave.report).*row.value);
    (row.type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) = value;
    out.push_back(std::move(metric));
  }
}

ClientMetric::Histogram Cumulative(const EnclaveReport::Histogram& histogram) {
  ClientMetric::Histogram cumulative;
  cumulative.sample_sum = histogram.sum_ms;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    cumulative.sample_count += histogram.counts[i];
    double bound = i < histogram.bounds_ms.size() ? histogram.bounds_ms[i]
                                                  : std::numeric_limits<double>::infinity();
    cumulative.bucket.push_back({cumulative.sample_count, bound});
  }
  return cumulative;
}

MetricFamily RehydrateLatency(const Statuses& enclaves) {
  MetricFamily family{.name = "rehydrate_latency_ms",
                      .help = "Time to open a plain key from its blob, in ms",
                      .type = MetricType::Histogram};
  for (const EnclaveLink::Status& enclave : enclaves) {
    if (!enclave.report || !enclave.report->rehydrate_latency) continue;
    ClientMetric metric = NewMetric(enclave);
    metric.histogram = Cumulative(*enclave.report->rehydrate_latency);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

}  // namespace

std::vector<MetricFamily> EnclaveFamilies(const Statuses& enclaves) {
  std::vector<MetricFamily> families;
  for (const Row& row : kRows) {
    if (families.empty() || families.back().name != row.name) {
      families.push_back({.name = row.name, .help = row.help, .type = row.type});
    }
    AppendSeries(row, enclaves, families.back().metric);
  }
  families.push_back(RehydrateLatency(enclaves));
  std::erase_if(families, [](const MetricFamily& family) { return family.metric.empty(); });
  return families;
}

}  // namespace bulla
