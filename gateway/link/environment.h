#pragma once

// What the data plane has of the world outside it: time, chance, and the way to the enclaves. The
// real ones in the program; in tests/simulation all three come from one seed.

#include <cstdint>
#include <functional>

#include "base/clock.h"
#include "base/timer.h"
#include "gateway/link/transport.h"

namespace bulla {

// All of it outlives what is made with it.
struct Environment {
  const Clock& clock;
  Timers& timers;
  EnclaveTransport& transport;
  std::function<std::uint64_t()> random;  // for jitter; thread-safe
};

}  // namespace bulla
