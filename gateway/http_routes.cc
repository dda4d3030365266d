#include "gateway/http_routes.h"

#include <cctype>
#include <fmt/format.h>
#include <string>

#include "gateway/call_rules.h"

namespace bulla {
namespace {

std::string_view PathOf(const HttpRequest& request) {
  std::string_view target = request.target;
  return target.substr(0, target.find('?'));
}

// "application/json", with at most a charset of UTF-8 (RFC 8259 knows no other).
bool IsJsonContentType(std::string_view value) {
  if (value == "application/json") return true;  // as nearly everybody writes it
  std::string text;
  for (char c : value) {
    if (c != ' ' && c != '\t' && c != '"') {
      text.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
  }
  return text == "application/json" || text == "application/json;charset=utf-8";
}

}  // namespace

HttpRefusal FindRoute(const HttpRequest& request, HttpRoute& out) {
  constexpr std::string_view kKeys = "/keys/";
  std::string_view path = PathOf(request);
  if (path == "/sign") {
    out = {FaceMethod::kSign, "POST", {}};
  } else if (path == "/sign/batch") {
    out = {FaceMethod::kBatch, "POST", {}};
  } else if (path == "/create") {
    out = {FaceMethod::kCreate, "POST", {}};
  } else if (path.starts_with(kKeys)) {
    out = {FaceMethod::kGetKey, "GET", path.substr(kKeys.size())};
  } else {
    return Refuse(404, ErrorCode::kInvalidArgument,
                  fmt::format("path: got {}, want /create, /sign, /sign/batch or /keys/{{keyId}}",
                              Quoted(path)));
  }
  return {};
}

HttpRefusal CheckMethod(const HttpRoute& route, const HttpRequest& request) {
  if (request.method == route.allow) return {};
  return Refuse(405, ErrorCode::kInvalidArgument,
                fmt::format("method: got {}, want {}", Quoted(request.method), route.allow));
}

HttpRefusal CheckEnvelope(const HttpRoute& route, const HttpRequest& request) {
  std::string_view query = std::string_view(request.target).substr(PathOf(request).size());
  if (!query.empty()) {
    return Refuse(ErrorCode::kInvalidArgument,
                  fmt::format("query: got {}, want none", Quoted(query)));
  }
  if (!request.tenant_field.empty()) {
    return Refuse(ErrorCode::kInvalidArgument, TenantRefused(request.tenant_field).message);
  }
  if (request.body.empty()) return {};
  if (route.method == FaceMethod::kGetKey) {
    return Refuse(ErrorCode::kInvalidArgument,
                  fmt::format("body: got {} bytes, want none", request.body.size()));
  }
  if (!IsJsonContentType(request.content_type)) {
    return Refuse(
        415, ErrorCode::kInvalidArgument,
        fmt::format("Content-Type: got {}, want application/json",
                    request.content_type.empty() ? "none" : Quoted(request.content_type)));
  }
  if (request.has_content_encoding) {
    return Refuse(415, ErrorCode::kInvalidArgument, "Content-Encoding: want none");
  }
  return {};
}

}  // namespace bulla
