#pragma once

// What the admin listener shows of a gateway: its state as one JSON object, and why it is not
// ready.

#include <string>
#include <vector>

#include "gateway/router.h"

namespace bulla {

// {"ready", "unlocksPending", ..., "enclaves": [{"address", "ready", "serving", "ejected",
// "weight", "platform", ...}]}. An enclave that was never reached has no counters, one that took
// the key policy no "policyRefused".
std::string StatusJson(const Router& router);

// In words; empty when the gateway can take calls.
std::vector<std::string> NotReadyBecause(const Router& router);

}  // namespace bulla
