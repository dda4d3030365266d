#pragma once

// The load itself: requests go out as a schedule says, over the transport of a protocol. One thread
// and as little work per request as measuring allows, so that on a small machine the generator
// leaves the CPU to what it measures.

#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "bench/load/load_book.h"
#include "bench/load/traffic.h"
#include "bench/transport/tcp.h"

namespace bulla {

struct LoadPlan {
  SchedulePlan schedule;
  Traffic traffic;
  std::vector<BenchKey> keys;                  // taken in turn
  std::uint64_t seed = 0;                      // of the digests
  std::function<void(std::uint64_t)> at_edge;  // see LoadBook; may be empty
};

// Blocks until all is answered, or given up five seconds after the end. `target` is the listener of
// the protocol. UNAVAILABLE when the connections cannot be made.
absl::StatusOr<LoadResult> RunLoadBlocking(const LoadPlan& plan, const Target& target,
                                           const Clock& clock,
                                           const std::function<void(const LoadProgress&)>& report);

}  // namespace bulla
