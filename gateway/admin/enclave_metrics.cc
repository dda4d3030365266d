#include "gateway/admin/enclave_metrics.h"

#include <limits>
#include <string>
#include <utility>

namespace bulla {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Statuses = std::vector<Fleet::Status>;

// A number of the report as a metric. Those of one name follow each other and differ in a label.
struct Row {
  const char* name;
  const char* help;
  MetricType type;
  std::uint64_t EnclaveReport::*value;
  const char* label = nullptr;
  const char* label_value = nullptr;
};

constexpr char kKeyCacheState[] = "Keys held, by state";
constexpr char kCrossings[] =
    "Hand-offs on the way of signatures: frames between the processes, jobs between the threads";

const Row kRows[] = {
    {"key_cache_state", kKeyCacheState, MetricType::Gauge, &EnclaveReport::keys_warm, "state",
     "WARM"},
    {"key_cache_state", kKeyCacheState, MetricType::Gauge, &EnclaveReport::keys_cool, "state",
     "COOL"},
    {"key_cache_state", kKeyCacheState, MetricType::Gauge, &EnclaveReport::keys_invalid, "state",
     "INVALID"},
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
    {"engine_crossings_total", kCrossings, MetricType::Counter, &EnclaveReport::frames_in, "kind",
     "request_frame"},
    {"engine_crossings_total", kCrossings, MetricType::Counter, &EnclaveReport::frames_out, "kind",
     "reply_frame"},
    {"engine_crossings_total", kCrossings, MetricType::Counter, &EnclaveReport::jobs, "kind",
     "job"},
    {"bulla_enclave_signatures_total", "Signatures made", MetricType::Counter,
     &EnclaveReport::signatures},
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

ClientMetric NewMetric(const Fleet::Status& enclave) {
  ClientMetric metric;
  metric.label = {{"enclave", enclave.link.address}};
  return metric;
}

void AppendSeries(const Row& row, const Statuses& enclaves, std::vector<ClientMetric>& out) {
  for (const Fleet::Status& enclave : enclaves) {
    if (!enclave.link.report || (row.type == MetricType::Gauge && !enclave.link.connected))
      continue;
    ClientMetric metric = NewMetric(enclave);
    if (row.label != nullptr) metric.label.push_back({row.label, row.label_value});
    auto value = static_cast<double>((*enclave.link.report).*row.value);
    (row.type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) = value;
    out.push_back(std::move(metric));
  }
}

ClientMetric::Histogram Cumulative(const EnclaveReport::Histogram& histogram) {
  ClientMetric::Histogram cumulative;
  cumulative.sample_sum = histogram.sum;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    cumulative.sample_count += histogram.counts[i];
    double bound =
        i < histogram.bounds.size() ? histogram.bounds[i] : std::numeric_limits<double>::infinity();
    cumulative.bucket.push_back({cumulative.sample_count, bound});
  }
  return cumulative;
}

struct HistogramRow {
  const char* name;
  const char* help;
  std::optional<EnclaveReport::Histogram> EnclaveReport::*value;
};

const HistogramRow kHistograms[] = {
    {"rehydrate_latency_ms", "Time to open a plain key from its blob, in ms",
     &EnclaveReport::rehydrate_latency_ms},
    {"sign_cpu_us", "CPU time of a signature with its check, the mean of its job, in us",
     &EnclaveReport::sign_cpu_us},
    {"batch_size_hist", "Signatures asked for in one frame", &EnclaveReport::batch_size},
};

MetricFamily FamilyOf(const HistogramRow& row, const Statuses& enclaves) {
  MetricFamily family{.name = row.name, .help = row.help, .type = MetricType::Histogram};
  for (const Fleet::Status& enclave : enclaves) {
    if (!enclave.link.report || !((*enclave.link.report).*row.value)) continue;
    ClientMetric metric = NewMetric(enclave);
    metric.histogram = Cumulative(*((*enclave.link.report).*row.value));
    family.metric.push_back(std::move(metric));
  }
  return family;
}

MetricFamily GaugeFamily(const char* name, const char* help, const Statuses& enclaves,
                         double (*value)(const Fleet::Status&)) {
  MetricFamily family{.name = name, .help = help, .type = MetricType::Gauge};
  for (const Fleet::Status& enclave : enclaves) {
    if (!enclave.link.report || !enclave.link.connected) continue;
    ClientMetric metric = NewMetric(enclave);
    metric.gauge.value = value(enclave);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

// What the gateway knows of each enclave whether it can be reached or not.
struct LinkRow {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const Fleet::Status&);
};

const LinkRow kLinkRows[] = {
    {"active_conns", "Open streams to the enclave", MetricType::Gauge,
     [](const Fleet::Status& enclave) { return static_cast<double>(enclave.link.streams_open); }},
    {"grpc_stream_resets", "Streams to the enclave that were lost", MetricType::Counter,
     [](const Fleet::Status& enclave) { return static_cast<double>(enclave.link.stream_resets); }},
    {"bulla_gateway_enclave_in_flight", "Requests that the enclave has not answered yet",
     MetricType::Gauge,
     [](const Fleet::Status& enclave) { return static_cast<double>(enclave.link.in_flight); }},
    {"bulla_gateway_enclave_weight", "Share of the keys, in percent of an enclave's usual one",
     MetricType::Gauge,
     [](const Fleet::Status& enclave) { return static_cast<double>(enclave.weight); }},
    {"bulla_gateway_enclave_serving",
     "1: in service: connected and warmed up, whether ejected or not", MetricType::Gauge,
     [](const Fleet::Status& enclave) { return enclave.in_service ? 1.0 : 0.0; }},
    {"bulla_gateway_enclave_ejected", "1: its circuit breaker keeps signatures from it",
     MetricType::Gauge, [](const Fleet::Status& enclave) { return enclave.ejected ? 1.0 : 0.0; }},
};

void AppendLinkFamilies(const Statuses& enclaves, std::vector<MetricFamily>& out) {
  for (const LinkRow& row : kLinkRows) {
    MetricFamily family{.name = row.name, .help = row.help, .type = row.type};
    for (const Fleet::Status& enclave : enclaves) {
      ClientMetric metric = NewMetric(enclave);
      (row.type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) =
          row.value(enclave);
      family.metric.push_back(std::move(metric));
    }
    out.push_back(std::move(family));
  }
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
  for (const HistogramRow& row : kHistograms) families.push_back(FamilyOf(row, enclaves));
  families.push_back(GaugeFamily(
      "worker_busy_ratio", "Share of the last probe's interval that workers were at work, 0 to 1",
      enclaves, [](const Fleet::Status& enclave) { return enclave.link.worker_busy_ratio; }));
  families.push_back(GaugeFamily(
      "engine_init_ms", "Time that the engine took to be made and to test itself, in ms", enclaves,
      [](const Fleet::Status& enclave) {
        return static_cast<double>(enclave.link.report->engine_init_us) / 1000;
      }));
  families.push_back(GaugeFamily(
      "sticky_hit_rate",
      "Share of the last seconds' signatures whose key was in the enclave already, 0 to 1",
      enclaves, [](const Fleet::Status& enclave) { return enclave.link.sticky_hit_rate; }));
  AppendLinkFamilies(enclaves, families);
  std::erase_if(families, [](const MetricFamily& family) { return family.metric.empty(); });
  return families;
}

}  // namespace bulla
