#pragma once

// Random bytes from the kernel, for identifiers, jitter and nonces. Secret keys are drawn in
// crypto/.

#include <cstdint>

#include "base/bytes.h"

namespace bulla {

// Fills `out` from getrandom(2). Blocks only before the kernel's pool is first seeded.
void FillRandom(MutableByteSpan out);

std::uint64_t RandomUint64();

}  // namespace bulla
