#pragma once

// One HTTP request and its answer, within a time limit: all that a command needs. No TLS, no
// redirects, no kept connection.

#include <chrono>
#include <string>
#include <string_view>

#include "base/http_url.h"
#include "base/status.h"

namespace bulla {

struct HttpRequest {
  std::string_view method = "GET";  // or POST, PATCH, DELETE
  std::string target;               // path and query
  std::string json_body;            // empty: no body
  std::string idempotency_key;      // empty: none
};

struct HttpReply {
  int status = 0;
  std::string body;  // at most kReplyBytesMax
};
inline constexpr std::size_t kReplyBytesMax = 1 << 20;  // a full page of `bulla keys` is a quarter

// Blocks for at most `timeout` from the connection on. UNAVAILABLE when nobody answers there,
// PERMISSION_DENIED when the socket is not for us, DEADLINE_EXCEEDED when nobody did in time,
// DATA_LOSS when what answered does not speak HTTP.
absl::StatusOr<HttpReply> CallBlocking(const HttpUrl& url, const HttpRequest& request,
                                       std::chrono::milliseconds timeout);

}  // namespace bulla
