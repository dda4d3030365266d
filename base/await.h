#pragma once

// Waiting where nobody tells: looking again every little while until something is so. For starts,
// ends and tests; whoever can be told waits for that instead (CondVar, Ticker, WakeTimer).

#include "base/clock.h"

namespace bulla {

// Does nothing for so long.
void PauseBlocking(Duration duration);

// Looks every millisecond whether `condition()` is true, for `patience` at most. What it said last.
template <typename Condition>
bool AwaitBlocking(Duration patience, Condition condition) {
  const RealClock clock;
  const MonotonicTime deadline = clock.Now() + patience;
  while (!condition()) {
    if (clock.Now() >= deadline) return false;
    PauseBlocking(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace bulla
