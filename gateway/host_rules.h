#pragma once

// What keeps web pages away from the listeners (ADR 20). A browser on the same machine or network
// lets any page send requests to them. Two rules, read off what no page can change:
//
// - A request is for this server only if the host that it names is. Otherwise a page could have its
//   own name point here (DNS rebinding), and would be the listener's own page to the browser. Names
//   of the loopback interface and literal addresses cannot be pointed elsewhere; other names are
//   taken when they are in `allowed_hosts`.
// - What a browser marks as another site's changes nothing.

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "gateway/http_request.h"

namespace bulla {

// Immutable.
class HostRules {
 public:
  HostRules() = default;  // no names beyond those of the loopback interface
  // Each of `allowed` is a name, or "*." and a name for all that are below it. INVALID_ARGUMENT.
  static absl::StatusOr<HostRules> Parse(const std::vector<std::string>& allowed);

  // `authority`: HOST[:PORT]; case, port and a dot at the end of the host do not matter.
  bool Allow(std::string_view authority) const;
  // 421 when the request is for another server. One that names no host at all, which HTTP/1.0
  // allows and no browser does, is for any.
  HttpRefusal Check(const HttpRequest& request) const;

 private:
  std::vector<std::string> names_;     // in lower case
  std::vector<std::string> suffixes_;  // ".example.com", in lower case
};

// The words of a refusal, for gRPC too.
std::string HostRefused(std::string_view name, std::string_view authority);

// 403 when a browser says that another site's page sent it. For requests that change something.
HttpRefusal CheckSameOrigin(const HttpRequest& request);

}  // namespace bulla
