#pragma once

// An answer of the HTTP face, and its bytes. A pure function; the bodies are gateway/http_json's.

#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/http_request.h"

namespace bulla {

struct HttpAnswer {
  int status = 0;
  std::string request_id;
  std::string body;                  // JSON; empty with 204
  std::uint32_t retry_after_ms = 0;  // 0: no hint
  std::string_view allow;            // the one HTTP method besides OPTIONS; empty: not said
};

// Appends to `out` the answer to `request`, as RFC 9110 and 9112 have it. `date` is an IMF-fixdate
// (RFC 9110, 5.6.7); with `close` the connection ends behind it.
void AppendAnswer(const HttpAnswer& answer, const HttpRequest& request, std::string_view date,
                  bool close, std::string& out);

}  // namespace bulla
