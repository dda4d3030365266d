#include "gateway/status_report.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace bulla {
namespace {

namespace json = boost::json;

json::object Describe(const EnclaveLink::Status& link) {
  json::object object;
  object["address"] = link.address;
  object["ready"] = link.ready;
  object["platform"] = link.platform;
  object["bootId"] = link.boot_id;
  object["streamsOpen"] = link.streams_open;
  object["inFlight"] = link.in_flight;
  object["reconnects"] = link.reconnects;
  object["signatures"] = link.signatures;
  object["keysCreated"] = link.keys_created;
  object["keysWarm"] = link.keys_warm;
  object["keysCool"] = link.keys_cool;
  object["deksOpen"] = link.deks_open;
  object["rehydrations"] = link.rehydrations;
  object["queueDepth"] = link.queue_depth;
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
