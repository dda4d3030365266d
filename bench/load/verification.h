#pragma once

// Every signature of a run is checked, off the clock: it must be the key's over the digest that was
// asked for, with s in the lower half, and its recovery id must lead to the key.

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/load/answer_log.h"

namespace bulla {

struct Verification {
  std::uint64_t right = 0;  // of the measured part
  std::uint64_t warm_up_right = 0;
  std::uint64_t wrong = 0;  // of both
  std::string first_wrong;  // what to look at; empty: none
};

// Blocks; uses all CPUs of the process. Says on `err` how far it is.
Verification VerifyBlocking(const AnswerLog& answers, const std::vector<BenchKey>& keys,
                            std::uint64_t seed, const Clock& clock, std::ostream& err);

}  // namespace bulla
