#include "gateway/http_answer.h"

#include <fmt/format.h>
#include <iterator>

namespace bulla {
namespace {

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
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
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

}  // namespace

void AppendAnswer(const HttpAnswer& answer, const HttpRequest& request, std::string_view date,
                  bool close, std::string& out) {
  auto at_end = std::back_inserter(out);
  fmt::format_to(at_end, "HTTP/1.1 {} {}\r\nDate: {}\r\n", answer.status,
                 ReasonPhrase(answer.status), date);
  if (answer.status != 204) {
    fmt::format_to(at_end, "Content-Type: application/json\r\nContent-Length: {}\r\n",
                   answer.body.size());
  }
  out += "X-Request-Id: ";
  out += answer.request_id;
  out += "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
  if (!answer.allow.empty()) fmt::format_to(at_end, "Allow: {}, OPTIONS\r\n", answer.allow);
  if (answer.retry_after_ms > 0) {
    fmt::format_to(at_end, "Retry-After: {}\r\nretry-after-ms: {}\r\n",
                   (answer.retry_after_ms + 999) / 1000, answer.retry_after_ms);
  }
  if (close) {
    out += "Connection: close\r\n";
  } else if (!request.is_http_1_1) {
    out += "Connection: keep-alive\r\n";  // HTTP/1.0 asked for it and needs to be told
  }
  out += "\r\n";
  if (request.method != "HEAD") out += answer.body;
}

}  // namespace bulla
