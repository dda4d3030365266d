#include "gateway/http/request.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/http_authority.h"
#include "gateway/frontend/http_text.h"
#include "gateway/frontend/limits.h"
#include "gateway/frontend/request_id.h"

namespace bulla {
namespace {

constexpr std::size_t kSmallString = 1024;
// Longer than any method that there is.
constexpr std::size_t kMethodBytesMax = 32;

// Empties `text`; gives back memory that only an unusual request needed.
void ClearSmall(std::string& text) {
  text.clear();
  if (text.capacity() > kSmallString) text.shrink_to_fit();
}

// What a field's value may consist of: visible characters, those above ASCII among them, spaces and
// tabs (RFC 9110, section 5.5).
bool IsValueChar(char c) {
  return c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != 0x7f);
}

// What a target may consist of: the characters of a URI without its fragment (RFC 3986).
bool IsTargetChar(char c) {
  return c > ' ' && c < 0x7f && std::string_view("\"#<>\\^`{|}").find(c) == std::string_view::npos;
}

// Takes "http://" or "https://" off `target`.
bool TakeScheme(std::string_view& target) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (!EqualsIgnoringCase(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    return true;
  }
  return false;
}

// RFC 9110, section 5.3: one field in several lines is one list.
void TakeListLine(std::string_view value, std::string& into) {
  if (!into.empty()) into += ',';
  into += value;
}

}  // namespace

void HttpRequest::Clear() {
  for (std::string* text :
       {&method, &target, &authority, &content_type, &request_id, &idempotency_key, &origin,
        &fetch_site, &unmet_expectation, &forwarded, &x_forwarded_for, &tenant_field, &body}) {
    ClearSmall(*text);
  }
  is_http_1_1 = has_authority = has_origin = has_fetch_site = has_body = has_content_encoding =
      expects_continue = is_from_browser = if_match = if_match_any = if_none_match_any = false;
}

HttpRefusal Refuse(Error error) { return {ErrorRowOf(error.code).http_status, std::move(error)}; }

HttpRefusal Refuse(ErrorCode code, std::string message) {
  return Refuse(ErrorRowOf(code).http_status, code, std::move(message));
}

HttpRefusal Refuse(int status, ErrorCode code, std::string message, HttpField field) {
  return {status, {code, std::move(message)}, field};
}

HttpRequestReader::HttpRequestReader(std::size_t body_bytes_max) : body_bytes_max_(body_bytes_max) {
  Reset();
}

void HttpRequestReader::Reset() {
  request_.Clear();
  refusal_ = {};
  state_ = State::kIdle;
  header_bytes_ = searched_ = 0;
  has_empty_line_ = has_request_line_ = is_absolute_form_ = has_host_ = false;
  says_close_ = says_keep_alive_ = false;
  content_length_.clear();
  transfer_encoding_.clear();
  has_transfer_encoding_ = false;
  body_bytes_left_ = 0;
  chunks_.reset();
}

std::size_t HttpRequestReader::Consume(std::string_view bytes) {
  std::size_t used = 0;
  if (bytes.empty()) return 0;
  if (state_ <= State::kHeader) used = ConsumeHeader(bytes);
  if (state_ == State::kBody) used += ConsumeBody(bytes.substr(used));
  return used;
}

void HttpRequestReader::ConsumeEnd() {
  if (state_ == State::kHeader || state_ == State::kBody) {
    RefuseWith(Refuse(ErrorCode::kInvalidArgument, "request: the connection ended before it did"));
  }
}

bool HttpRequestReader::keep_alive() const {
  if (state_ != State::kDone || says_close_) return false;
  return request_.is_http_1_1 || says_keep_alive_;
}

void HttpRequestReader::RefuseWith(HttpRefusal refusal) {
  refusal_ = std::move(refusal);
  state_ = State::kRefused;
}

void HttpRequestReader::RefuseMalformed(std::string message) {
  RefuseWith(Refuse(ErrorCode::kInvalidArgument, std::move(message)));
}

// ---- Lines -----------------------------------------------------------------------------------

std::size_t HttpRequestReader::ConsumeHeader(std::string_view bytes) {
  std::size_t used = 0;
  while (state_ <= State::kHeader && used < bytes.size()) {
    const std::string_view rest = bytes.substr(used);
    state_ = State::kHeader;
    const std::size_t end = rest.find('\n', searched_);
    if (end == rest.npos) {
      searched_ = rest.size();
      CheckUnfinishedLine(rest);
      break;
    }
    searched_ = 0;
    if (end == 0 || rest[end - 1] != '\r') {
      RefuseMalformed("header: a line ends in LF alone, want CR LF");
      break;
    }
    used += end + 1;
    header_bytes_ += end + 1;
    if (header_bytes_ > limits::kHttpHeaderBytesMax) {
      RefuseLongLine(rest.substr(0, end - 1));
    } else {
      TakeLine(rest.substr(0, end - 1));
    }
  }
  return used;
}

// Refuses what no end of the line could make right, so that strangers who speak no HTTP are not
// waited for.
void HttpRequestReader::CheckUnfinishedLine(std::string_view line) {
  if (!has_request_line_ && !IsTokenChar(line.front()) && line != "\r") {
    RefuseMalformed("request: does not begin with the name of a method");
  } else if (header_bytes_ + line.size() > limits::kHttpHeaderBytesMax ||
             (!has_request_line_ && line.size() > limits::kHttpRequestLineBytesMax + 1)) {  // a CR
    RefuseLongLine(line);
  }
}

void HttpRequestReader::RefuseLongLine(std::string_view line) {
  if (has_request_line_) {
    RefuseWith(Refuse(431, ErrorCode::kPayloadTooLarge,
                      fmt::format("header: over {} bytes", limits::kHttpHeaderBytesMax)));
  } else if (line.substr(0, kMethodBytesMax).find(' ') == line.npos) {
    RefuseWith(Refuse(501, ErrorCode::kInvalidArgument,
                      fmt::format("method: got {}, which is not known here", Quoted(line))));
  } else {
    RefuseWith(
        Refuse(414, ErrorCode::kPayloadTooLarge,
               fmt::format("request line: over {} bytes", limits::kHttpRequestLineBytesMax)));
  }
}

void HttpRequestReader::TakeLine(std::string_view line) {
  if (has_request_line_) return line.empty() ? BeginBody() : TakeField(line);
  if (!line.empty()) return TakeRequestLine(line);
  // Some clients end a body with a line of its own.
  if (has_empty_line_) return RefuseMalformed("request: two empty lines in front of it");
  has_empty_line_ = true;
  state_ = State::kIdle;
}

// ---- The request line ------------------------------------------------------------------------

void HttpRequestReader::TakeRequestLine(std::string_view line) {
  if (line.size() > limits::kHttpRequestLineBytesMax) return RefuseLongLine(line);
  const std::size_t target_at = line.find(' ') + 1;  // 0: there is none
  const std::size_t version_at = line.find(' ', target_at) + 1;
  const std::string_view version = line.substr(version_at);
  if (target_at == 0 || version_at == 0 || version.size() != 8 || !version.starts_with("HTTP/") ||
      version[6] != '.' || version[5] < '0' || version[5] > '9' || version[7] < '0' ||
      version[7] > '9') {
    return RefuseMalformed(
        fmt::format("request line: got {}, want METHOD TARGET HTTP/1.1", Quoted(line)));
  }
  const std::string_view method = line.substr(0, target_at - 1);
  if (!IsToken(method)) {
    return RefuseMalformed(fmt::format("method: got {}, want a token", Quoted(method)));
  }
  if (version[5] != '1') {
    return RefuseWith(Refuse(505, ErrorCode::kInvalidArgument,
                             fmt::format("version: got {}, want HTTP/1.1", Quoted(version))));
  }
  has_request_line_ = true;
  request_.method = method;
  request_.is_http_1_1 = version[7] != '0';  // a later minor version is one that we can talk to
  TakeTarget(line.substr(target_at, version_at - 1 - target_at));
}

void HttpRequestReader::TakeTarget(std::string_view target) {
  const bool is_options = request_.method == "OPTIONS";
  std::string_view rest = target;
  if (target.empty() || !std::all_of(target.begin(), target.end(), IsTargetChar)) {
    return RefuseMalformed(fmt::format("target: got {}, want a path", Quoted(target)));
  }
  if (target.front() == '/' || request_.method == "CONNECT" || (target == "*" && is_options)) {
    request_.target = target;
    return;
  }
  if (!TakeScheme(rest)) {
    return RefuseMalformed(
        fmt::format("target: got {}, want a path, or http:// and what follows", Quoted(target)));
  }
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?"));
  rest.remove_prefix(authority.size());
  const std::optional<HttpAuthority> parsed = ParseHttpAuthority(authority);
  if (!parsed || parsed->host.empty()) {
    return RefuseMalformed(
        fmt::format("target: got {}, want HOST or HOST:PORT behind its scheme", Quoted(target)));
  }
  is_absolute_form_ = request_.has_authority = true;
  request_.authority = authority;
  // What asks for the server as a whole is "*" (RFC 9112, section 3.2.4).
  if (rest.empty() && is_options) {
    request_.target = "*";
    return;
  }
  if (!rest.starts_with('/')) request_.target = '/';
  request_.target += rest;
}

// ---- Fields ----------------------------------------------------------------------------------

void HttpRequestReader::TakeField(std::string_view line) {
  if (kHttpSpace.find(line.front()) != kHttpSpace.npos) {
    // To some readers it goes on with the line before (obs-fold), to others it is a field.
    return RefuseMalformed("header: a line begins with a space");
  }
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == line.npos || !IsToken(name)) {
    return RefuseMalformed(fmt::format("header: got {}, want NAME: VALUE", Quoted(line)));
  }
  const std::string_view value = TrimHttpSpace(line.substr(colon + 1));
  if (!std::all_of(value.begin(), value.end(), IsValueChar)) {
    return RefuseMalformed(fmt::format("{}: has a control character", Quoted(name)));
  }
  TakeKnownField(name, value);
}

void HttpRequestReader::TakeKnownField(std::string_view name, std::string_view value) {
  auto is = [name](std::string_view known) { return EqualsIgnoringCase(name, known); };
  if (is("host")) {
    TakeHost(value);
  } else if (is("content-length")) {
    TakeContentLength(value);
  } else if (is("transfer-encoding")) {
    TakeTransferEncoding(value);
  } else if (is("content-type")) {
    TakeOnce("Content-Type", value, request_.content_type);
  } else if (is("user-agent")) {
    request_.is_from_browser |= value.starts_with("Mozilla/");
  } else if (is("x-request-id")) {
    TakeRequestId(value);
  } else if (is("idempotency-key")) {
    if (value.empty()) {
      return RefuseMalformed(
          "Idempotency-Key: got nothing, want 1 to 255 visible ASCII characters");
    }
    TakeOnce("Idempotency-Key", value, request_.idempotency_key);
  } else if (is("origin")) {
    request_.has_origin = true;
    TakeOnce("Origin", value, request_.origin);
  } else if (is("sec-fetch-site")) {
    request_.has_fetch_site = true;
    TakeOnce("Sec-Fetch-Site", value, request_.fetch_site);
  } else if (is("connection")) {
    while (!value.empty()) {
      const std::string_view option = TakeListMember(value);
      says_close_ |= EqualsIgnoringCase(option, "close");
      says_keep_alive_ |= EqualsIgnoringCase(option, "keep-alive");
    }
  } else if (is("content-encoding")) {
    while (!value.empty()) {
      const std::string_view coding = TakeListMember(value);
      request_.has_content_encoding |= !coding.empty() && !EqualsIgnoringCase(coding, "identity");
    }
  } else if (is("expect")) {
    while (!value.empty()) {
      const std::string_view expectation = TakeListMember(value);
      if (EqualsIgnoringCase(expectation, "100-continue")) {
        // HTTP/1.0 has no interim answers: there it would be taken for the answer.
        request_.expects_continue = request_.is_http_1_1;
      } else if (!expectation.empty()) {
        request_.unmet_expectation = expectation;
      }
    }
  } else if (is("if-match")) {
    (value == "*" ? request_.if_match_any : request_.if_match) = true;
  } else if (is("if-none-match")) {
    request_.if_none_match_any |= value == "*";
  } else if (is("forwarded")) {
    TakeListLine(value, request_.forwarded);
  } else if (is("x-forwarded-for")) {
    TakeListLine(value, request_.x_forwarded_for);
  } else if (IsTenantName(name)) {
    request_.tenant_field = name;
  }
}

void HttpRequestReader::TakeOnce(std::string_view name, std::string_view value, std::string& into) {
  if (!into.empty()) return RefuseMalformed(fmt::format("{}: given twice", name));
  into = value;
}

// Proxies add one of their own beside the caller's, or join both with a comma. The caller's comes
// first, and a name is no reason to refuse a call.
void HttpRequestReader::TakeRequestId(std::string_view value) {
  while (!value.empty() && request_.request_id.empty()) {
    const std::string_view id = TakeListMember(value);
    if (IsAcceptableRequestId(id)) request_.request_id = id;
  }
}

void HttpRequestReader::TakeHost(std::string_view value) {
  if (has_host_) return RefuseMalformed("Host: given twice");
  has_host_ = true;
  if (!ParseHttpAuthority(value)) {
    return RefuseMalformed(fmt::format("Host: got {}, want HOST or HOST:PORT", Quoted(value)));
  }
  // Behind an absolute-form target it counts for nothing (RFC 9112, section 3.2.2).
  if (is_absolute_form_) return;
  request_.has_authority = true;
  request_.authority = value;
}

// A list of equal lengths, or the same field twice, is one length to some and none to others; so is
// a length beside a coding.
void HttpRequestReader::TakeContentLength(std::string_view value) {
  if (!content_length_.empty() || has_transfer_encoding_ || value.empty() ||
      value.find_first_not_of("0123456789") != value.npos) {
    return RefuseMalformed("Content-Length: want one number, once, without Transfer-Encoding");
  }
  content_length_ = value;
}

void HttpRequestReader::TakeTransferEncoding(std::string_view value) {
  if (!request_.is_http_1_1 || !content_length_.empty()) {
    return RefuseMalformed("Transfer-Encoding: want it in HTTP/1.1, without Content-Length");
  }
  if (has_transfer_encoding_) transfer_encoding_ += ',';
  has_transfer_encoding_ = true;
  transfer_encoding_ += value;
}

// ---- The end of the header, and the body -----------------------------------------------------

// `chunked` alone is taken. Where another coding is under it, the body's end is known, and only
// that coding is not (501); elsewhere readers could differ about the end.
void HttpRequestReader::CheckTransferEncoding() {
  std::string_view codings = transfer_encoding_;
  std::string_view last = TakeListMember(codings);
  bool is_unknown = false;
  bool is_malformed = last.empty() || transfer_encoding_.ends_with(',');
  while (!codings.empty()) {
    is_malformed |= !IsToken(last) || EqualsIgnoringCase(last, "chunked");
    is_unknown = true;
    last = TakeListMember(codings);
  }
  if (is_malformed || !EqualsIgnoringCase(last, "chunked")) {
    return RefuseMalformed(
        fmt::format("Transfer-Encoding: got {}, want chunked", Quoted(transfer_encoding_)));
  }
  if (is_unknown) {
    return RefuseWith(Refuse(
        501, ErrorCode::kInvalidArgument,
        fmt::format("Transfer-Encoding: got {}, want chunked alone", Quoted(transfer_encoding_))));
  }
  chunks_.emplace(body_bytes_max_, limits::kHttpHeaderBytesMax);
}

// Decides where the body will end.
void HttpRequestReader::BeginBody() {
  if (request_.is_http_1_1 && !has_host_) return RefuseMalformed("Host: got none, want it once");
  state_ = State::kBody;
  if (has_transfer_encoding_) {
    request_.has_body = true;
    return CheckTransferEncoding();
  }
  if (!content_length_.empty()) {
    const char* last = content_length_.data() + content_length_.size();
    auto [end, ec] = std::from_chars(content_length_.data(), last, body_bytes_left_);
    if (ec != std::errc() || body_bytes_left_ > body_bytes_max_) {
      return RefuseWith(
          Refuse(ErrorCode::kPayloadTooLarge,
                 fmt::format("body: got {} bytes, want at most {}",
                             content_length_.substr(0, kEchoCharsMax), body_bytes_max_)));
    }
  }
  request_.has_body = body_bytes_left_ > 0;
  if (!request_.has_body) state_ = State::kDone;
}

std::size_t HttpRequestReader::ConsumeBody(std::string_view bytes) {
  if (!chunks_) {
    bytes = bytes.substr(0, body_bytes_left_);
    request_.body.append(bytes);
    body_bytes_left_ -= bytes.size();
    if (body_bytes_left_ == 0) state_ = State::kDone;
    return bytes.size();
  }
  std::size_t used = chunks_->Consume(bytes, request_.body);
  switch (chunks_->state()) {
    case ChunkedBody::State::kMore:
      break;
    case ChunkedBody::State::kDone:
      state_ = State::kDone;
      break;
    case ChunkedBody::State::kMalformed:
      RefuseMalformed("body: not a well-formed chunked body");
      break;
    case ChunkedBody::State::kTooLarge:
      RefuseWith(Refuse(ErrorCode::kPayloadTooLarge,
                        fmt::format("body: over {} bytes, or with over {} bytes of chunk "
                                    "extensions and trailers",
                                    body_bytes_max_, limits::kHttpHeaderBytesMax)));
      break;
  }
  return used;
}

}  // namespace bulla
