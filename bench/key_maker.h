#pragma once

// Makes the keys that a run signs with, before it begins.

#include <vector>

#include "base/status.h"
#include "bench/answer_log.h"
#include "bench/tcp.h"

namespace bulla {

// POST /create, `count` times over one connection. Blocks. UNAVAILABLE when nobody answers,
// FAILED_PRECONDITION with what the service says when it makes none.
absl::StatusOr<std::vector<BenchKey>> MakeKeysBlocking(const Target& target, int count);

}  // namespace bulla
