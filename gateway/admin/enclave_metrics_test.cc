#include "gateway/admin/enclave_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/metrics.h"

namespace bulla {
namespace {

using testing::HasSubstr;
using testing::Not;

EnclaveLink::Status Enclave(const std::string& address) {
  EnclaveLink::Status status;
  status.address = address;
  status.connected = true;
  status.report.emplace();
  status.report->number("keys_warm") = 3;
  status.report->number("keys_cool") = 4;
  status.report->number("keys_invalid") = 5;
  status.report->number("deks_open") = 2;
  return status;
}

std::string TextOf(const std::vector<EnclaveLink::Status>& links) {
  std::vector<Fleet::Status> enclaves;
  for (const EnclaveLink::Status& link : links) enclaves.push_back({.link = link});
  Metrics metrics;
  metrics.AddSource([&] { return EnclaveFamilies(enclaves); });
  return metrics.Exposition();
}

TEST(EnclaveMetrics, EachEnclaveHasASeriesUnderItsAddress) {
  std::string text = TextOf({Enclave("unix:/a"), Enclave("unix:/b")});
  for (const char* address : {"unix:/a", "unix:/b"}) {
    std::string label = std::string("{enclave=\"") + address + "\"";
    EXPECT_THAT(text, HasSubstr("\nkey_cache_state" + label + ",state=\"WARM\"} 3\n"));
    EXPECT_THAT(text, HasSubstr("\nkey_cache_state" + label + ",state=\"COOL\"} 4\n"));
    EXPECT_THAT(text, HasSubstr("\nkey_cache_state" + label + ",state=\"INVALID\"} 5\n"));
    EXPECT_THAT(text, HasSubstr("\nbulla_enclave_deks_open" + label + "} 2\n"));
  }
  std::size_t first = text.find("# TYPE key_cache_state gauge\n");
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(text.find("# TYPE key_cache_state", first + 1), std::string::npos)
      << "one family, or Prometheus refuses the page";
}

TEST(EnclaveMetrics, EveryNumberHasTheNameAndTypeOfTheContract) {
  EnclaveLink::Status enclave = Enclave("e");
  std::uint64_t value = 0;
  for (std::optional<std::uint64_t>& number : enclave.report->numbers) number = ++value;
  enclave.report->number("engine_init_us") = 1500;
  const std::string text = TextOf({enclave});
  struct Expected {
    std::string family;
    std::string type;
    std::vector<std::string> series;  // with their labels and values
  };
  const auto series = [&](const std::string& labels, EnclaveMetricId id) {
    return "{enclave=\"e\"" + labels + "} " + std::to_string(*enclave.report->number(id));
  };
  for (const Expected& expected : std::initializer_list<Expected>{
           {"key_cache_state",
            "gauge",
            {series(",state=\"WARM\"", "keys_warm"), series(",state=\"COOL\"", "keys_cool"),
             series(",state=\"INVALID\"", "keys_invalid")}},
           {"engine_crossings_total",
            "counter",
            {series(",kind=\"request_frame\"", "frames_in"),
             series(",kind=\"reply_frame\"", "frames_out"), series(",kind=\"job\"", "jobs")}},
           {"engine_init_ms", "gauge", {"{enclave=\"e\"} 1.5"}},
           {"engine_q_depth", "gauge", {series("", "queue_depth")}},
           {"rehydrate_total", "counter", {series("", "rehydrations")}},
           {"rehydrate_fail", "counter", {series("", "rehydrations_failed")}},
           {"singleflight_waiters", "gauge", {series("", "singleflight_waiters")}},
           {"hard_expired_rejections_total", "counter", {series("", "hard_expired_rejections")}},
           {"bulla_enclave_signatures_total", "counter", {series("", "signatures")}},
           {"bulla_enclave_key_refreshes_total", "counter", {series("", "refreshes")}},
           {"bulla_enclave_plain_keys_evicted_total",
            "counter",
            {series("", "plain_keys_evicted")}},
           {"bulla_enclave_blobs_evicted_total", "counter", {series("", "blobs_evicted")}},
           {"bulla_enclave_key_memory_bytes", "gauge", {series("", "key_memory_bytes")}},
           {"bulla_enclave_key_memory_budget_bytes",
            "gauge",
            {series("", "key_memory_budget_bytes")}},
           {"bulla_enclave_locked_bytes", "gauge", {series("", "locked_bytes")}},
           {"bulla_enclave_locked_budget_bytes", "gauge", {series("", "locked_budget_bytes")}},
           {"bulla_enclave_deks_open", "gauge", {series("", "deks_open")}}}) {
    EXPECT_THAT(text, HasSubstr("# TYPE " + expected.family + " " + expected.type + "\n"));
    for (const std::string& line : expected.series) {
      EXPECT_THAT(text, HasSubstr("\n" + expected.family + line + "\n"));
    }
  }
}

TEST(EnclaveMetrics, AHistogramIsCumulativeAndEndsInInfinity) {
  EnclaveLink::Status enclave = Enclave("e");
  enclave.report->histogram("rehydrate_latency_ms") =
      EnclaveReport::Histogram{.bounds = {0.25, 1}, .counts = {7, 0, 2}, .sum = 3.5};
  std::string text = TextOf({enclave});
  EXPECT_THAT(text, HasSubstr("# TYPE rehydrate_latency_ms histogram\n"
                              "rehydrate_latency_ms_count{enclave=\"e\"} 9\n"
                              "rehydrate_latency_ms_sum{enclave=\"e\"} 3.5\n"
                              "rehydrate_latency_ms_bucket{enclave=\"e\",le=\"0.25\"} 7\n"
                              "rehydrate_latency_ms_bucket{enclave=\"e\",le=\"1\"} 7\n"
                              "rehydrate_latency_ms_bucket{enclave=\"e\",le=\"+Inf\"} 9\n"));
}

TEST(EnclaveMetrics, OfAnEnclaveThatWasNeverReachedOnlyTheWayThereIsShown) {
  EnclaveLink::Status enclave;
  enclave.address = "unix:/a";
  std::string text = TextOf({enclave, Enclave("unix:/b")});
  EXPECT_THAT(text, HasSubstr("\nactive_conns{enclave=\"unix:/a\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("\nbulla_gateway_enclave_in_service{enclave=\"unix:/a\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("key_cache_state{enclave=\"unix:/a\"")));
  EXPECT_THAT(text, Not(HasSubstr("sticky_hit_rate{enclave=\"unix:/a\"")));
}

TEST(EnclaveMetrics, WhatAnEnclaveDoesNotReportIsNotThere) {
  EnclaveLink::Status enclave = Enclave("e");
  enclave.report->number("rehydrations") = std::nullopt;
  enclave.report->number("keys_cool") = std::nullopt;
  std::string text = TextOf({enclave});
  EXPECT_THAT(text, Not(HasSubstr("rehydrate_total")));
  EXPECT_THAT(text, Not(HasSubstr("state=\"COOL\"")));
  EXPECT_THAT(text, HasSubstr("state=\"WARM\""));
}

TEST(EnclaveMetrics, AnEnclaveThatIsGoneHoldsNothingAndKeepsItsCounters) {
  EnclaveLink::Status enclave = Enclave("e");
  enclave.report->number("rehydrations") = 6;
  enclave.connected = false;
  std::string text = TextOf({enclave});
  EXPECT_THAT(text, Not(HasSubstr("key_cache_state")));
  EXPECT_THAT(text, HasSubstr("\nrehydrate_total{enclave=\"e\"} 6\n"));
}

}  // namespace
}  // namespace bulla
