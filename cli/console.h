#pragma once

// What a command prints to and ends with.

#include <ostream>
#include <string_view>

namespace bulla {

// The exit statuses of `bulla`, listed in `bulla --help`.
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,        // the signature does not verify; an answer could not be understood
  kUsage = 2,         // the command line is wrong
  kNothingThere = 3,  // nothing answers at the address
  kRefused = 4,       // the service refused the call; trying again cannot help
  kTryAgain = 5,      // the service cannot take the call now; trying again can help
};

// Results go to `out`, everything else to `err`. With `json`, each is one JSON object a line.
struct Console {
  std::ostream& out;
  std::ostream& err;
  bool json = false;

  // Prints {"error":{"code","message"}} or "bulla: MESSAGE", and returns `exit`.
  ExitCode Fail(ExitCode exit, std::string_view code, std::string_view message) const;
};

}  // namespace bulla
