#include "gateway/admin/status_report.h"

#include <fmt/format.h>
#include <map>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "gateway/frontend/call_rules.h"

namespace bulla {
namespace {

namespace json = boost::json;

void DescribeReport(const EnclaveReport& report, json::object& object) {
  for (std::size_t i = 0; i < report.numbers.size(); ++i) {
    const std::string_view member = kEnclaveMetrics[i].status;
    if (!member.empty() && report.numbers[i]) object[member] = *report.numbers[i];
  }
}

// {"access_denied": 2}: data keys by why KMS does not open them.
json::object DescribeRefused(const std::map<UnlockCause, std::size_t>& refused) {
  json::object object;
  for (const auto& [cause, count] : refused) object[NameOf(cause)] = count;
  return object;
}

json::object Describe(const Fleet::Status& enclave,
                      const std::map<UnlockCause, std::size_t>& refused) {
  const EnclaveLink::Status& link = enclave.link;
  json::object object;
  object["address"] = link.address;
  object["connected"] = link.connected;
  object["available"] = enclave.in_service && !enclave.ejected;
  object["ejected"] = enclave.ejected;
  object["weight"] = enclave.weight;
  object["weightTarget"] = enclave.weight_target;
  object["leaving"] = enclave.leaving;
  object["platform"] = link.platform;
  object["bootId"] = link.boot_id;
  object["streamsOpen"] = link.streams_open;
  object["inFlight"] = link.in_flight;
  object["reconnects"] = link.reconnects;
  object["streamResets"] = link.stream_resets;
  object["stickyHitRate"] = link.sticky_hit_rate;
  if (link.report) DescribeReport(*link.report, object);
  if (!link.foreign_store.empty()) object["foreignStore"] = link.foreign_store;
  if (!refused.empty()) object["unlocksRefused"] = DescribeRefused(refused);
  if (!link.sealing_refused.empty()) object["sealingRefused"] = link.sealing_refused;
  if (!link.policy_refused.empty()) object["policyRefused"] = link.policy_refused;
  if (!link.last_error.empty()) object["lastError"] = link.last_error;
  return object;
}

json::object Describe(const StoreStatus& store) {
  json::object object;
  object["path"] = store.path;
  object["id"] = store.identity.id.ToString();
  object["createdAt"] = FormatTime(store.identity.created_at);
  object["isNew"] = store.is_new;
  object["writable"] = store.health.writable();
  if (store.health.writable()) return object;
  object["fault"] = std::string(StoreFaultName(store.health.fault));
  object["reason"] = store.health.reason;
  object["since"] = FormatTime(store.health.since);
  return object;
}

json::array DescribeAll(const DataPlane& data_plane) {
  json::array enclaves;
  for (const Fleet::Status& enclave : data_plane.fleet().statuses()) {
    enclaves.push_back(Describe(enclave, data_plane.unlocker().Refused(enclave.link.id)));
  }
  return enclaves;
}

}  // namespace

std::string EnclavesJson(const DataPlane& data_plane) {
  json::object object;
  object["enclaves"] = DescribeAll(data_plane);
  return json::serialize(object);
}

std::string StatusJson(const BuildInfo& build, const DataPlane& data_plane,
                       const StoreStatus& store, const ConfigReport::State& config) {
  const Unlocker::Progress unlocks = data_plane.unlocker().progress();
  json::object object;
  object["build"] = {
      {"version", build.version}, {"commit", build.commit}, {"compiler", build.compiler}};
  object["ready"] = NotReadyBecause(data_plane, store.health).empty();
  object["store"] = Describe(store);
  object["unlocksPending"] = unlocks.pending;
  object["unlocksRunning"] = unlocks.running;
  object["unlocksDone"] = unlocks.done;
  object["unlocksFailed"] = unlocks.failed;
  if (!config.refused.empty()) object["configRefused"] = config.refused;
  if (!config.restart_needed.empty()) {
    object["configNeedsRestart"] =
        json::array(config.restart_needed.begin(), config.restart_needed.end());
  }
  json::object settings;
  for (const auto& [key, value] : config.hot) settings[key] = value;
  object["settings"] = std::move(settings);
  object["enclaves"] = DescribeAll(data_plane);
  return json::serialize(object);
}

std::vector<std::string> NotReadyBecause(const DataPlane& data_plane, const StoreHealth& store) {
  std::vector<std::string> reasons = NotReadyToSignBecause(data_plane);
  if (!store.writable()) reasons.push_back(fmt::format("key store: {}", store.reason));
  const bool explained = data_plane.fleet().available() == 0;
  for (const Fleet::Status& enclave : data_plane.fleet().statuses()) {
    if (explained || enclave.link.foreign_store.empty()) continue;
    reasons.push_back(fmt::format("enclave {}: {}", enclave.link.address, enclave.link.last_error));
  }
  return reasons;
}

std::vector<std::string> NotReadyToSignBecause(const DataPlane& data_plane) {
  if (data_plane.fleet().available() > 0) return {};
  std::vector<std::string> reasons;
  for (const Fleet::Status& enclave : data_plane.fleet().statuses()) {
    const std::string& error = enclave.link.last_error;
    reasons.push_back(fmt::format("enclave {}: {}", enclave.link.address,
                                  enclave.ejected          ? "does not answer"
                                  : enclave.link.connected ? "opening the data keys in use"
                                  : error.empty()          ? "connecting"
                                                           : error));
  }
  if (reasons.empty()) reasons.push_back("no enclave is configured");
  return reasons;
}

}  // namespace bulla
