#pragma once

// What of unlocking may change while the gateway runs: read at each use.

#include <cstddef>

#include "base/hot.h"

namespace bulla {

// Thread-safe.
struct UnlockSettings {
  // An unlock takes 10 ms of KMS's time; four at once keep the way to it busy without a herd.
  Hot<std::size_t> concurrency_max{4};
  // Begun within a second, retries among them: KMS's quotas are for all of an account together.
  Hot<std::size_t> rate_max{100};
};

}  // namespace bulla
