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

ClientMetric NewMetric(const Fleet::Status& enclave) {
  ClientMetric metric;
  metric.label = {{"enclave", enclave.link.address}};
  return metric;
}

MetricType TypeOf(const EnclaveMetric& row) {
  return row.kind == EnclaveMetricKind::kGauge ? MetricType::Gauge : MetricType::Counter;
}

// The row of this place in the table, for each enclave that reports it.
void AppendSeries(std::size_t place, const Statuses& enclaves, std::vector<ClientMetric>& out) {
  const EnclaveMetric& row = kEnclaveMetrics[place];
  const MetricType type = TypeOf(row);
  for (const Fleet::Status& enclave : enclaves) {
    if (!enclave.link.report || (type == MetricType::Gauge && !enclave.link.connected)) continue;
    const std::optional<std::uint64_t> number = enclave.link.report->numbers[place];
    if (!number) continue;
    ClientMetric metric = NewMetric(enclave);
    if (*row.label != '\0') metric.label.push_back({row.label, row.label_value});
    const double value = static_cast<double>(*number) / row.divisor;
    (type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) = value;
    out.push_back(std::move(metric));
  }
}

void AppendNumbers(const Statuses& enclaves, std::vector<MetricFamily>& out) {
  for (std::size_t i = 0; i < kEnclaveMetrics.size(); ++i) {
    const EnclaveMetric& row = kEnclaveMetrics[i];
    if (*row.family == '\0') continue;
    if (out.empty() || out.back().name != row.family) {
      out.push_back({.name = row.family, .help = row.help, .type = TypeOf(row)});
    }
    AppendSeries(i, enclaves, out.back().metric);
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

void AppendHistograms(const Statuses& enclaves, std::vector<MetricFamily>& out) {
  for (std::size_t i = 0; i < kEnclaveHistograms.size(); ++i) {
    const EnclaveHistogram& row = kEnclaveHistograms[i];
    out.push_back({.name = row.family, .help = row.help, .type = MetricType::Histogram});
    for (const Fleet::Status& enclave : enclaves) {
      if (!enclave.link.report || !enclave.link.report->histograms[i]) continue;
      ClientMetric metric = NewMetric(enclave);
      metric.histogram = Cumulative(*enclave.link.report->histograms[i]);
      out.back().metric.push_back(std::move(metric));
    }
  }
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
    {"bulla_gateway_enclave_in_service",
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
  AppendNumbers(enclaves, families);
  AppendHistograms(enclaves, families);
  families.push_back(GaugeFamily(
      "worker_busy_ratio", "Share of the last probe's interval that workers were at work, 0 to 1",
      enclaves, [](const Fleet::Status& enclave) { return enclave.link.worker_busy_ratio; }));
  families.push_back(GaugeFamily(
      "sticky_hit_rate",
      "Share of the last seconds' signatures whose key was in the enclave already, 0 to 1",
      enclaves, [](const Fleet::Status& enclave) { return enclave.link.sticky_hit_rate; }));
  AppendLinkFamilies(enclaves, families);
  std::erase_if(families, [](const MetricFamily& family) { return family.metric.empty(); });
  return families;
}

}  // namespace bulla
