#include "gateway/http/routes.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string>

#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/http_text.h"
#include "gateway/http/host_check.h"
#include "gateway/http/media_type.h"

namespace bulla {
namespace {

constexpr std::string_view kGets = "GET, HEAD, OPTIONS";
constexpr std::string_view kPosts = "POST, OPTIONS";
constexpr std::string_view kAll = "GET, HEAD, POST, OPTIONS";
constexpr std::string_view kOptions = "OPTIONS";

std::string_view PathOf(const HttpRequest& request) {
  std::string_view target = request.target;
  return target.substr(0, target.find('?'));
}

HttpRefusal FindRoute(const HttpRequest& request, HttpRoute& out) {
  constexpr std::string_view kKeys = "/keys/";
  std::string_view path = PathOf(request);
  if (path == "/sign") {
    out = {FrontendMethod::kSign, kPosts, {}};
  } else if (path == "/sign/batch") {
    out = {FrontendMethod::kBatch, kPosts, {}};
  } else if (path == "/create") {
    out = {FrontendMethod::kCreate, kPosts, {}};
  } else if (path.starts_with(kKeys)) {
    out = {FrontendMethod::kGetKey, kGets, path.substr(kKeys.size())};
  } else if (path == "*") {
    out = {FrontendMethod::kOther, kAll, {}};
  } else {
    return Refuse(404, ErrorCode::kInvalidArgument,
                  fmt::format("path: got {}, want /create, /sign, /sign/batch or /keys/{{keyId}}",
                              Quoted(path)));
  }
  return {};
}

// Without a body, and without having said what it would be, as `curl -X POST` sends it. A browser
// says where such a request comes from, but for those of before 2020 (ADR 20).
bool IsBarePost(const HttpRequest& request) {
  return request.content_type.empty() && !request.has_body && !request.is_from_browser;
}

// The query, the header fields and whether there may be a body.
HttpRefusal CheckEnvelope(const HttpRoute& route, const HttpRequest& request) {
  std::string_view query = std::string_view(request.target).substr(PathOf(request).size());
  if (!query.empty()) {
    return Refuse(ErrorCode::kInvalidArgument,
                  fmt::format("query: got {}, want none", Quoted(query)));
  }
  if (!request.tenant_field.empty()) {
    return Refuse(ErrorCode::kInvalidArgument, TenantRefused(request.tenant_field).message);
  }
  if (HttpRefusal refusal = CheckPreconditions(request); refusal.any()) return refusal;
  if (route.method == FrontendMethod::kGetKey) {
    return request.has_body ? Refuse(ErrorCode::kInvalidArgument, "body: got one, want none")
                            : HttpRefusal{};
  }
  if (HttpRefusal refusal = CheckSameOrigin(request); refusal.any()) return refusal;
  return IsBarePost(request) ? HttpRefusal{} : CheckContent(request);
}

}  // namespace

HttpRefusal CheckKnown(const HttpRequest& request) {
  static constexpr std::array<std::string_view, 7> kMethods = {"GET",     "HEAD",  "POST",  "PUT",
                                                               "OPTIONS", "PATCH", "DELETE"};
  if (std::find(kMethods.begin(), kMethods.end(), request.method) == kMethods.end()) {
    return Refuse(501, ErrorCode::kInvalidArgument,
                  fmt::format("method: got {}, which is not known here", Quoted(request.method)));
  }
  if (request.unmet_expectation.empty()) return {};
  return Refuse(
      417, ErrorCode::kInvalidArgument,
      fmt::format("Expect: got {}, want 100-continue", Quoted(request.unmet_expectation)));
}

HttpRefusal CheckMethod(const HttpRequest& request, std::string_view allow) {
  for (std::string_view rest = allow; !rest.empty();) {
    if (TakeListMember(rest) == request.method) return {};
  }
  return Refuse(405, ErrorCode::kInvalidArgument,
                fmt::format("method: got {}, want {}", Quoted(request.method), allow),
                {"Allow", allow});
}

HttpRefusal CheckPreconditions(const HttpRequest& request) {
  const bool is_get = request.method == "GET" || request.method == "HEAD";
  if (!request.if_match && (is_get || !request.if_match_any)) return {};
  return Refuse(412, ErrorCode::kInvalidArgument, "If-Match: nothing here has an entity tag");
}

HttpRefusal CheckContent(const HttpRequest& request) {
  if (!IsJsonMediaType(request.content_type)) {
    return Refuse(415, ErrorCode::kInvalidArgument,
                  fmt::format("Content-Type: got {}, want application/json",
                              request.content_type.empty() ? "none" : Quoted(request.content_type)),
                  {"Accept", "application/json"});
  }
  if (request.has_content_encoding) {
    return Refuse(415, ErrorCode::kInvalidArgument, "Content-Encoding: want none",
                  {"Accept-Encoding", "identity"});
  }
  return {};
}

HttpRefusal CheckHeader(const HttpRequest& request, const HostRules& hosts, HttpRoute& out) {
  if (HttpRefusal refusal = CheckHost(hosts, request); refusal.any()) return refusal;
  if (HttpRefusal refusal = CheckKnown(request); refusal.any()) return refusal;
  if (HttpRefusal refusal = FindRoute(request, out); refusal.any()) return refusal;
  if (HttpRefusal refusal = CheckMethod(request, out.allow); refusal.any()) return refusal;
  return request.method == kOptions ? HttpRefusal{} : CheckEnvelope(out, request);
}

}  // namespace bulla
