#pragma once

// What the admin listener shows of a gateway: its state as one JSON object, and why it is not
// ready.

#include <string>
#include <vector>

#include "base/build_info.h"
#include "gateway/config/watch.h"
#include "gateway/routing/data_plane.h"

namespace bulla {

// A store as the status shows it.
struct StoreStatus {
  std::string path;
  StoreIdentity identity;
  bool is_new = false;  // made by this gateway's start
  StoreHealth health;
};

// {"build": {"version", "commit", "compiler"}, "ready", "store": {...}, "unlocksPending", ...,
// "enclaves": [{"address", "connected", "available", "ejected", "weight", "platform", ...}]}. An
// enclave that was never reached has no counters, one that took the key policy no "policyRefused".
// "settings" has the hot settings as they are now, "sign_timeout": "1s".
// "configRefused" and "configNeedsRestart" are there while there is something to say.
std::string StatusJson(const BuildInfo& build, const DataPlane& data_plane,
                       const StoreStatus& store, const ConfigReport::State& config);

// {"enclaves": [...]}, as in StatusJson.
std::string EnclavesJson(const DataPlane& data_plane);

// In words; empty when the gateway does all that it is there for.
std::vector<std::string> NotReadyBecause(const DataPlane& data_plane, const StoreHealth& store);
// In words; empty when signatures can be asked for, whatever else is amiss.
std::vector<std::string> NotReadyToSignBecause(const DataPlane& data_plane);

}  // namespace bulla
