#pragma once

// When KMS is asked again for a data key that could not be had: to open one
// (gateway/unlock/unlocker), or to seal under (gateway/link/enclave_link).

#include <chrono>
#include <cstdint>

#include "base/unlock_cause.h"

namespace bulla {

// How long to wait after the `attempts`th failure in a row (from 1) before KMS is asked again,
// spread over the second half of it by `random`: from 50 ms, doubling, to 2 s; where the cause is
// final from 5 s to 4 minutes.
std::chrono::milliseconds UnlockBackoff(unsigned attempts, UnlockCause cause, std::uint64_t random);

}  // namespace bulla
