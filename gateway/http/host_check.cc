#include "gateway/http/host_check.h"

#include <fmt/format.h>
#include <optional>

#include "gateway/call/refusal.h"
#include "gateway/frontend/http_authority.h"
#include "gateway/frontend/http_text.h"

namespace bulla {
namespace {

HttpRefusal CrossSite(std::string_view field, std::string_view got, std::string_view want) {
  return Refuse(ErrorCode::kPermissionDenied,
                fmt::format("{}: got {}, want {}: a page of another site may not call this", field,
                            got.empty() ? "nothing" : Quoted(got), want));
}

// Whether `origin` is the scheme, host and port that the request was sent to. The scheme may be
// another than the one it arrived with: TLS ends in front of the gateway.
bool IsOwnOrigin(std::string_view origin, std::string_view own) {
  std::string_view default_port = "80";
  if (origin.starts_with("http://")) {
    origin.remove_prefix(7);
  } else if (origin.starts_with("https://")) {
    origin.remove_prefix(8);
    default_port = "443";
  } else {
    return false;
  }
  const std::optional<HttpAuthority> theirs = ParseHttpAuthority(origin);
  const std::optional<HttpAuthority> ours = ParseHttpAuthority(own);
  if (!theirs || !ours || theirs->host.empty()) return false;
  auto port = [&](const HttpAuthority& of) { return of.port.empty() ? default_port : of.port; };
  return EqualsIgnoringCase(theirs->host, ours->host) && port(*theirs) == port(*ours);
}

}  // namespace

HttpRefusal CheckHost(const HostRules& hosts, const HttpRequest& request) {
  if (!request.has_authority || hosts.Allow(request.authority)) return {};
  return Refuse(421, ErrorCode::kPermissionDenied, HostRefused("Host", request.authority));
}

HttpRefusal CheckSameOrigin(const HttpRequest& request) {
  if (request.has_fetch_site && request.fetch_site != "same-origin" &&
      request.fetch_site != "none") {
    return CrossSite("Sec-Fetch-Site", request.fetch_site, "same-origin, none or no such field");
  }
  if (request.has_origin && !IsOwnOrigin(request.origin, request.authority)) {
    return CrossSite("Origin", request.origin, "this server's own or no such field");
  }
  return {};
}

}  // namespace bulla
