#pragma once

// One HTTP/1.1 request out of the bytes of a connection, as RFC 9110 and 9112 have it, read by both
// listeners. Strict where they leave a choice: whatever two readers of the same bytes could
// understand differently is refused, since that is how requests are smuggled past a proxy (RFC
// 9112, section 11.2). Which section asks for what is the table of gateway/http_conformance_test.
//
// The header is read line by line. Where the body ends is said by Content-Length, or by the body
// itself (gateway/http/chunked_body).

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/http/chunked_body.h"
#include "wire/errors.h"

namespace bulla {

struct HttpRequest {
  std::string method;
  std::string target;     // path and query; "*"; of an absolute-form, what is behind its authority
  std::string authority;  // HOST[:PORT]: of an absolute-form target, else the Host field
  std::string content_type;
  std::string request_id;  // empty when none was sent that is acceptable
  std::string idempotency_key;
  std::string origin;
  std::string fetch_site;  // Sec-Fetch-Site
  std::string unmet_expectation;
  std::string forwarded;        // all its lines, joined with commas
  std::string x_forwarded_for;  // the same
  std::string tenant_field;     // the name of a tenant field that was sent, else empty
  std::string body;
  bool is_http_1_1 = false;
  bool has_authority = false;
  bool has_origin = false;
  bool has_fetch_site = false;
  bool has_body = false;  // the header says that one follows
  bool has_content_encoding = false;
  bool if_match = false;           // If-Match with tags
  bool if_match_any = false;       // with *
  bool if_none_match_any = false;  // If-None-Match with *
  bool expects_continue = false;
  bool is_from_browser = false;  // by its User-Agent, which no page can change

  void Clear();  // keeps the memory of small strings
};

// One field of an answer, beyond those that every answer has.
struct HttpField {
  std::string_view name;
  std::string_view value;
};

// An answer other than the service's: an error of the table, with the status line refined where
// HTTP has a word for it (ADR 3).
struct HttpRefusal {
  int status = 0;  // 0: none
  Error error;
  HttpField field;  // what HTTP wants to be told with it; empty: nothing

  bool any() const { return status != 0; }
};
HttpRefusal Refuse(Error error);
HttpRefusal Refuse(ErrorCode code, std::string message);
HttpRefusal Refuse(int status, ErrorCode code, std::string message, HttpField field = {});

// Confined to its connection's thread.
class HttpRequestReader {
 public:
  // kIdle: nothing of the next request is there, except perhaps the empty line in front of it.
  enum class State { kIdle, kHeader, kBody, kDone, kRefused };

  explicit HttpRequestReader(std::size_t body_bytes_max);

  // Takes what it can of `bytes` and returns how much that was; the rest is to be given again, with
  // more behind it, or belongs to the next request. Requires: neither kDone nor kRefused.
  std::size_t Consume(std::string_view bytes);
  // The connection ended: kIdle stays, anything unfinished is refused.
  void ConsumeEnd();

  State state() const { return state_; }
  const HttpRequest& request() const { return request_; }  // complete when kDone
  const HttpRefusal& refusal() const { return refusal_; }  // when kRefused
  // Whether the connection may serve another request after this one.
  bool keep_alive() const;
  // Ready for the next request.
  void Reset();

 private:
  // As Consume, within one part.
  std::size_t ConsumeHeader(std::string_view bytes);
  std::size_t ConsumeBody(std::string_view bytes);

  // `line` is without its CRLF. Each refuses, or takes it.
  void TakeLine(std::string_view line);
  void TakeRequestLine(std::string_view line);
  void TakeTarget(std::string_view target);
  void TakeField(std::string_view line);
  void TakeKnownField(std::string_view name, std::string_view value);
  void TakeHost(std::string_view value);
  void TakeContentLength(std::string_view value);
  void TakeTransferEncoding(std::string_view value);
  void TakeOnce(std::string_view name, std::string_view value, std::string& into);
  void TakeRequestId(std::string_view value);

  // At the end of the header.
  void BeginBody();
  void CheckTransferEncoding();
  void CheckUnfinishedLine(std::string_view line);
  void RefuseLongLine(std::string_view line);
  void RefuseWith(HttpRefusal refusal);
  void RefuseMalformed(std::string message);

  const std::size_t body_bytes_max_;
  HttpRequest request_;
  HttpRefusal refusal_;
  State state_ = State::kIdle;
  std::size_t header_bytes_ = 0;  // of the lines so far
  std::size_t searched_ = 0;      // of the line under way, without finding its end
  bool has_empty_line_ = false;   // one came before the request line
  bool has_request_line_ = false;
  bool is_absolute_form_ = false;
  bool has_host_ = false;
  bool says_close_ = false;  // Connection
  bool says_keep_alive_ = false;
  std::string content_length_;     // the field; empty: none
  std::string transfer_encoding_;  // the fields, joined by commas
  bool has_transfer_encoding_ = false;
  std::size_t body_bytes_left_ = 0;  // of a body with a Content-Length
  std::optional<ChunkedBody> chunks_;
};

}  // namespace bulla
