#pragma once

// What a command prints to and ends with.

#include <ostream>
#include <string_view>

#include "base/command_line.h"

namespace bulla {

// The exit statuses of `bulla`, listed in `bulla --help`.
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,                  // the signature does not verify; an answer could not be understood
  kUsage = 2,                   // the command line is wrong
  kNothingThere = 3,            // nothing answers at the address
  kRefused = 4,                 // the service refused the call; trying again cannot help
  kTryAgain = 5,                // the service cannot take the call now; trying again can help
  kOutputLost = kOutputStatus,  // it is done, but what there is to say of it could not be written
};

// Results go to `out`, everything else to `err`. With `json`, each is one JSON object a line.
struct Console {
  std::ostream& out;
  std::ostream& err;
  bool json = false;
  int out_fd = -1;  // under `out`; -1: none

  // Prints {"error":{"code","message"}} or "bulla: MESSAGE", and returns `exit`.
  ExitCode Fail(ExitCode exit, std::string_view code, std::string_view message) const;
  // The last of a command: sees that `out` has everything, and says so when it has not
  // (`what_is_lost` first). Returns `exit`, but kOutputLost where that alone went wrong.
  ExitCode Finish(ExitCode exit, std::string_view what_is_lost = {}) const;
};

}  // namespace bulla
