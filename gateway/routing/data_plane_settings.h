#pragma once

// What of the data plane may change while the gateway runs: read at each use.

#include <chrono>
#include <cstdint>

#include "base/hot.h"
#include "gateway/call/signer_service.h"
#include "gateway/link/link_settings.h"
#include "gateway/unlock/unlock_settings.h"

namespace bulla {

// Thread-safe.
struct RetrySettings {
  Hot<std::uint8_t> count_max{SignCall::kRetriesMax};  // of one call
  // From the first retry of a call to its end, whatever that is.
  Hot<std::chrono::milliseconds> timeout{std::chrono::milliseconds(200)};
  // An enclave that has not answered a signature by then is taken not to answer at all, when there
  // is another that could: a hundred times what it takes.
  Hot<std::chrono::milliseconds> per_try_timeout{std::chrono::milliseconds(100)};
  Hot<std::uint32_t> requests_per_retry{10};
};

// Thread-safe.
struct DataPlaneSettings {
  LinkSettings link;
  UnlockSettings unlock;
  RetrySettings retry;
  // Between two steps of a weight on its way: Fleet::kSteps of them.
  Hot<std::chrono::milliseconds> rebalancing_step_interval{std::chrono::milliseconds(500)};
};

}  // namespace bulla
