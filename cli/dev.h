#pragma once

// `bulla dev`: the whole service on one machine, for development and tests: a local KMS, simulated
// enclaves, the gateway, a SQLite file. Keys made here are as safe as this machine is.

#include "cli/console.h"
#include "cli/dev_plan.h"

namespace bulla {

// Starts everything, makes a key, signs and verifies, then (unless options.smoke) serves until
// SIGINT or SIGTERM. Blocks; call it before any thread is started.
ExitCode RunDevBlocking(DevOptions options, const Console& console);

}  // namespace bulla
