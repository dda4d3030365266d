#pragma once

// What of a link to an enclave may change while it is up: read at each use.

#include <chrono>
#include <cstddef>

#include "base/hot.h"
#include "wire/codec.h"

namespace bulla {

// Thread-safe.
struct LinkSettings {
  // Connections to each enclave: so many always, and so many at most, when all are well filled.
  Hot<std::size_t> streams_min{16};
  Hot<std::size_t> streams_max{32};
  // Signatures that travel together; 1: each alone. How long one may be held back for that.
  Hot<std::size_t> batch_size_max{kFrameSignsMax};
  Hot<std::chrono::microseconds> batch_wait_max{std::chrono::microseconds(500)};
  // What the enclave's queue is held to, by refusing: gateway/link/concurrency_limit.
  Hot<std::chrono::milliseconds> queue_wait_max{std::chrono::milliseconds(50)};
};

}  // namespace bulla
