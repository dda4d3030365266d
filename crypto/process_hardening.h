#pragma once

#include "base/status.h"

namespace bulla {

// Keeps this process's memory, and so its keys, from reaching a disk or another process: no core
// dumps, and no ptrace or /proc/<pid>/mem by others of the same user. First thing in the main of a
// process that holds keys.
absl::Status HardenProcess();

}  // namespace bulla
