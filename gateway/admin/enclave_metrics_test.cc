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
  status.report = EnclaveReport{.keys_warm = 3, .keys_cool = 4, .keys_invalid = 5, .deks_open = 2};
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
  enclave.report = EnclaveReport{.queue_depth = 1,
                                 .rehydrations = 2,
                                 .rehydrations_failed = 3,
                                 .refreshes = 4,
                                 .singleflight_waiters = 5,
                                 .hard_expired_rejections = 6,
                                 .plain_keys_evicted = 7,
                                 .blobs_evicted = 8,
                                 .key_memory_bytes = 9,
                                 .key_memory_budget_bytes = 10,
                                 .locked_bytes = 11,
                                 .locked_budget_bytes = 12};
  std::string text = TextOf({enclave});
  struct Expected {
    std::string name;
    std::string type;
    int value;
  };
  for (const Expected& expected :
       std::initializer_list<Expected>{{"engine_q_depth", "gauge", 1},
                                       {"rehydrate_total", "counter", 2},
                                       {"rehydrate_fail", "counter", 3},
                                       {"bulla_enclave_key_refreshes_total", "counter", 4},
                                       {"singleflight_waiters", "gauge", 5},
                                       {"hard_expired_rejections_total", "counter", 6},
                                       {"bulla_enclave_plain_keys_evicted_total", "counter", 7},
                                       {"bulla_enclave_blobs_evicted_total", "counter", 8},
                                       {"bulla_enclave_key_memory_bytes", "gauge", 9},
                                       {"bulla_enclave_key_memory_budget_bytes", "gauge", 10},
                                       {"bulla_enclave_locked_bytes", "gauge", 11},
                                       {"bulla_enclave_locked_budget_bytes", "gauge", 12}}) {
    EXPECT_THAT(text, HasSubstr("# TYPE " + expected.name + " " + expected.type + "\n"));
    EXPECT_THAT(text, HasSubstr("\n" + expected.name + "{enclave=\"e\"} " +
                                std::to_string(expected.value) + "\n"));
  }
}

TEST(EnclaveMetrics, AHistogramIsCumulativeAndEndsInInfinity) {
  EnclaveLink::Status enclave = Enclave("e");
  enclave.report->rehydrate_latency_ms =
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
  EXPECT_THAT(text, HasSubstr("\nbulla_gateway_enclave_serving{enclave=\"unix:/a\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("key_cache_state{enclave=\"unix:/a\"")));
  EXPECT_THAT(text, Not(HasSubstr("sticky_hit_rate{enclave=\"unix:/a\"")));
}

TEST(EnclaveMetrics, AnEnclaveThatIsGoneHoldsNothingAndKeepsItsCounters) {
  EnclaveLink::Status enclave = Enclave("e");
  enclave.report->rehydrations = 6;
  enclave.connected = false;
  std::string text = TextOf({enclave});
  EXPECT_THAT(text, Not(HasSubstr("key_cache_state")));
  EXPECT_THAT(text, HasSubstr("\nrehydrate_total{enclave=\"e\"} 6\n"));
}

}  // namespace
}  // namespace bulla
