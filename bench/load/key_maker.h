#pragma once

// Makes the keys that a run signs with, before it begins.

#include <ostream>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "bench/load/answer_log.h"
#include "bench/load/traffic.h"
#include "bench/transport/tcp.h"

namespace bulla {

// Creates `count` keys over one connection to the listener of the protocol. Blocks, and says on
// `err` how far it is. UNAVAILABLE when nobody answers, FAILED_PRECONDITION with what the service
// says when it makes none.
absl::StatusOr<std::vector<BenchKey>> MakeKeysBlocking(const Target& target, Protocol protocol,
                                                       int count, const Clock& clock,
                                                       std::ostream& err);

}  // namespace bulla
