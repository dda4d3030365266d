#pragma once

// What the admin listener shows of a gateway: its state as one JSON object, and why it is not
// ready.

#include <string>
#include <vector>

#include "gateway/config_watch.h"
#include "gateway/router.h"

namespace bulla {

// {"ready", "unlocksPending", ..., "enclaves": [{"address", "ready", "serving", "ejected",
// "weight", "platform", ...}]}. An enclave that was never reached has no counters, one that took
// the key policy no "policyRefused". "configRefused" and "configNeedsRestart" are there while there
// is something to say.
std::string StatusJson(const Router& router, const ConfigReport::State& config);

// {"enclaves": [...]}, as in StatusJson.
std::string EnclavesJson(const Router& router);

// In words; empty when the gateway can take calls.
std::vector<std::string> NotReadyBecause(const Router& router);

}  // namespace bulla
