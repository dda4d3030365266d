#pragma once

// An answer of either listener, and its bytes. A pure function; the bodies are gateway/http/json's.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "gateway/http/request.h"

namespace bulla {

struct HttpAnswer {
  int status = 0;
  std::string request_id;
  std::string body;  // empty with 204
  std::string_view content_type = "application/json";
  std::uint32_t retry_after_ms = 0;  // 0: no hint
  HttpField field;                   // one more; empty: none
};

// The interim answer to who waits for it before he sends a body.
inline constexpr std::string_view kHttpContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// An IMF-fixdate (RFC 9110, section 5.6.7), to the second.
std::string FormatHttpDate(WallTime time);

// Appends to `out` the answer to `request`, as RFC 9110 and 9112 have it. `date` is
// FormatHttpDate's; with `close` the connection ends behind it.
void AppendAnswer(const HttpAnswer& answer, const HttpRequest& request, std::string_view date,
                  bool close, std::string& out);

}  // namespace bulla
