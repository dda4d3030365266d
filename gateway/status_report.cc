#include "gateway/status_report.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace bulla {
namespace {

namespace json = boost::json;

void DescribeReport(const EnclaveReport& report, json::object& object) {
  object["signatures"] = report.signatures;
  object["keysCreated"] = report.keys_created;
  object["keysWarm"] = report.keys_warm;
  object["keysCool"] = report.keys_cool;
  object["keysInvalid"] = report.keys_invalid;
  object["deksOpen"] = report.deks_open;
  object["rehydrations"] = report.rehydrations;
  object["rehydrationsFailed"] = report.rehydrations_failed;
  object["refreshes"] = report.refreshes;
  object["hardExpiredRejections"] = report.hard_expired_rejections;
  object["singleflightWaiters"] = report.singleflight_waiters;
  object["queueDepth"] = report.queue_depth;
  object["keyMemoryBytes"] = report.key_memory_bytes;
  object["keyMemoryBudgetBytes"] = report.key_memory_budget_bytes;
  object["lockedBytes"] = report.locked_bytes;
  object["lockedBudgetBytes"] = report.locked_budget_bytes;
}

json::object Describe(const EnclaveLink::Status& link) {
  json::object object;
  object["address"] = link.address;
  object["ready"] = link.ready;
  object["platform"] = link.platform;
  object["bootId"] = link.boot_id;
  object["streamsOpen"] = link.streams_open;
  object["inFlight"] = link.in_flight;
  object["reconnects"] = link.reconnects;
  if (link.report) DescribeReport(*link.report, object);
  if (!link.policy_refused.empty()) object["policyRefused"] = link.policy_refused;
  if (!link.last_error.empty()) object["lastError"] = link.last_error;
  return object;
}

}  // namespace

std::string StatusJson(const Router& router) {
  json::array enclaves;
  for (const EnclaveLink::Status& link : router.LinkStatuses()) enclaves.push_back(Describe(link));
  json::object object;
  object["ready"] = NotReadyBecause(router).empty();
  object["unlocksPending"] = router.unlocks_pending();
  object["enclaves"] = std::move(enclaves);
  return json::serialize(object);
}

std::vector<std::string> NotReadyBecause(const Router& router) {
  if (router.links_ready() > 0) return {};
  std::vector<std::string> reasons;
  for (const EnclaveLink::Status& link : router.LinkStatuses()) {
    reasons.push_back(fmt::format("enclave {}: {}", link.address,
                                  link.last_error.empty() ? "connecting" : link.last_error));
  }
  if (reasons.empty()) reasons.push_back("no enclave is configured");
  return reasons;
}

}  // namespace bulla
