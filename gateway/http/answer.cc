#include "gateway/http/answer.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <initializer_list>

namespace bulla {
namespace {

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Internal Server Error";
  }
}

// A number's digits, for as long as the expression lasts.
class Digits {
 public:
  explicit Digits(std::uint64_t value) : digits_(value) {}
  explicit Digits(std::uint32_t value) : digits_(value) {}
  explicit Digits(int value) : digits_(value) {}
  operator std::string_view() const { return {digits_.data(), digits_.size()}; }

 private:
  fmt::format_int digits_;
};

void Append(std::string& out, std::initializer_list<std::string_view> parts) {
  for (std::string_view part : parts) out += part;
}

}  // namespace

std::string FormatHttpDate(WallTime time) {
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT",
                     fmt::gmtime(static_cast<std::time_t>(UnixMillis(time) / 1000)));
}

void AppendAnswer(const HttpAnswer& answer, const HttpRequest& request, std::string_view date,
                  bool close, std::string& out) {
  // If-None-Match: * asks for nothing that is there (RFC 9110, section 13.1.2).
  const bool is_get = request.method == "GET" || request.method == "HEAD";
  const bool is_known = answer.status == 200 && is_get && request.if_none_match_any;
  const int status = is_known ? 304 : answer.status;
  Append(out, {"HTTP/1.1 ", Digits(status), " ", ReasonPhrase(status), "\r\nDate: ", date, "\r\n"});
  if (answer.status != 204) {
    Append(out, {"Content-Type: ", answer.content_type,
                 "\r\nContent-Length: ", Digits(answer.body.size()), "\r\n"});
  }
  Append(out, {"X-Request-Id: ", answer.request_id,
               "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"});
  if (!answer.field.name.empty()) {
    Append(out, {answer.field.name, ": ", answer.field.value, "\r\n"});
  }
  if (answer.retry_after_ms > 0) {
    Append(out, {"Retry-After: ", Digits((answer.retry_after_ms + 999) / 1000),
                 "\r\nretry-after-ms: ", Digits(answer.retry_after_ms), "\r\n"});
  }
  if (close) {
    out += "Connection: close\r\n";
  } else if (!request.is_http_1_1) {
    out += "Connection: keep-alive\r\n";  // HTTP/1.0 asked for it and needs to be told
  }
  out += "\r\n";
  if (request.method != "HEAD" && status != 304) out += answer.body;
}

}  // namespace bulla
