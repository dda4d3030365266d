#pragma once

// How `bulla-bench` ends, and the messages when it could not do what it was asked for.

#include <ostream>

#include "base/command_line.h"
#include "base/status.h"

namespace bulla {

// The exit statuses, as far as they mean the same those of `bulla`.
enum class BenchExit : int {
  kOk = 0,
  kWrong = 1,         // a signature is wrong, or an answer makes no sense
  kUsage = 2,         // the command line is wrong
  kNothingThere = 3,  // nothing answers at the address, or what a measurement needs does not start
  kRefused = 4,  // the service makes no keys, or not all requests of a measurement were answered
  kMissed = 5,   // the gate: a criterion was not met
  kOutputLost = kOutputStatus,  // the report could not be written to standard output
};

// Writes why, and returns the exit status that it means.
BenchExit Fail(const absl::Status& status, std::ostream& err);

}  // namespace bulla
