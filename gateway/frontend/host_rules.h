#pragma once

// Which hosts a request may name (ADR 20). A browser on the same machine or network lets any web
// page send requests to the listeners. Were any host taken, a page could have its own name point
// here (DNS rebinding), and would be the listener's own page to the browser. Names of the loopback
// interface and literal addresses cannot be pointed elsewhere; other names are taken when they are
// in `allowed_hosts`.

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace bulla {

// Immutable.
class HostRules {
 public:
  HostRules() = default;  // no names beyond those of the loopback interface
  // Each of `allowed` is a name, or "*." and a name for all that are below it. INVALID_ARGUMENT.
  static absl::StatusOr<HostRules> Parse(const std::vector<std::string>& allowed);

  // `authority`: HOST[:PORT]; case, port and a dot at the end of the host do not matter.
  bool Allow(std::string_view authority) const;

 private:
  std::vector<std::string> names_;     // in lower case
  std::vector<std::string> suffixes_;  // ".example.com", in lower case
};

// The words of a refusal. `name`: of the field that named the host.
std::string HostRefused(std::string_view name, std::string_view authority);

}  // namespace bulla
