#include "gateway/http_request.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fmt/format.h>

#include "base/limits.h"
#include "gateway/call_rules.h"

namespace bulla {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;

constexpr std::size_t kSmallString = 1024;

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

// Empties `text`; gives back memory that only an unusual request needed.
void ClearSmall(std::string& text) {
  text.clear();
  if (text.capacity() > kSmallString) text.shrink_to_fit();
}

bool IsTenantField(std::string_view name) {
  return EqualsIgnoringCase(name, "tenant-id") || EqualsIgnoringCase(name, "tenant_id") ||
         EqualsIgnoringCase(name, "tenantId") || EqualsIgnoringCase(name, "x-tenant-id");
}

// A field that goes on in the next line (obs-fold; RFC 9112, 5.2, lets a server refuse it) is one
// field to some readers and two to others.
bool HasFoldedLine(std::string_view header) {
  return header.find("\n ") != std::string_view::npos ||
         header.find("\n\t") != std::string_view::npos;
}

HttpRefusal RefuseHeaderSize() {
  return Refuse(ErrorCode::kPayloadTooLarge,
                fmt::format("header: over {} bytes", limits::kHttpHeaderBytesMax));
}

}  // namespace

void HttpRequest::Clear() {
  for (std::string* text :
       {&method, &target, &content_type, &request_id, &idempotency_key, &body, &tenant_field}) {
    ClearSmall(*text);
  }
  is_http_1_1 = has_content_encoding = expects_continue = false;
}

HttpRefusal Refuse(ErrorCode code, std::string message) {
  return Refuse(ErrorRowOf(code).http_status, code, std::move(message));
}

HttpRefusal Refuse(int status, ErrorCode code, std::string message) {
  return {status, {code, std::move(message)}};
}

HttpRequestReader::HttpRequestReader(std::size_t body_bytes_max) : body_bytes_max_(body_bytes_max) {
  Reset();
}

void HttpRequestReader::Reset() {
  request_.Clear();
  refusal_ = {};
  state_ = State::kIdle;
  header_bytes_ = 0;
  hosts_ = 0;
  content_length_.clear();
  body_bytes_left_ = 0;
  chunks_.reset();
  parser_.emplace(*this);
  parser_->skip(true);  // the body is ours
  parser_->header_limit(limits::kHttpHeaderBytesMax);
}

std::size_t HttpRequestReader::Consume(std::string_view bytes) {
  std::size_t used = 0;
  if (bytes.empty()) return 0;
  if (state_ == State::kIdle) state_ = State::kHeader;
  if (state_ == State::kHeader) used = ConsumeHeader(bytes);
  if (state_ == State::kBody) used += ConsumeBody(bytes.substr(used));
  return used;
}

std::size_t HttpRequestReader::ConsumeHeader(std::string_view bytes) {
  error_code ec;
  std::size_t used = parser_->put(boost::asio::const_buffer(bytes.data(), bytes.size()), ec);
  if (ec && ec != http::error::need_more && !refusal_.any()) {
    RefuseWith(ec == http::error::header_limit
                   ? RefuseHeaderSize()
                   : Refuse(ErrorCode::kInvalidArgument,
                            fmt::format("request: not well-formed HTTP/1.1: {}", ec.message())));
  }
  // The parser takes a field once it has seen that the next line is another: `used` never ends
  // between a field and its fold.
  if (HasFoldedLine(bytes.substr(0, used))) {
    RefuseWith(Refuse(ErrorCode::kInvalidArgument, "header: a line begins with a space"));
  }
  return used;
}

// Decides, at the end of the header, where the body will end.
void HttpRequestReader::BeginBody() {
  state_ = State::kBody;
  if (chunks_) return;
  if (!content_length_.empty()) {
    const char* last = content_length_.data() + content_length_.size();
    auto [end, ec] = std::from_chars(content_length_.data(), last, body_bytes_left_);
    if (ec != std::errc() || body_bytes_left_ > body_bytes_max_) {
      return RefuseWith(
          Refuse(ErrorCode::kPayloadTooLarge,
                 fmt::format("body: got {} bytes, want at most {}",
                             content_length_.substr(0, limits::kEchoCharsMax), body_bytes_max_)));
    }
  }
  if (body_bytes_left_ == 0) state_ = State::kDone;
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
      RefuseWith(Refuse(ErrorCode::kInvalidArgument, "body: not a well-formed chunked body"));
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

void HttpRequestReader::ConsumeEnd() {
  if (state_ == State::kHeader || state_ == State::kBody) {
    RefuseWith(Refuse(ErrorCode::kInvalidArgument, "request: the connection ended before it did"));
  }
}

bool HttpRequestReader::keep_alive() const {
  return state_ == State::kDone && parser_->keep_alive();
}

void HttpRequestReader::RefuseWith(HttpRefusal refusal) {
  refusal_ = std::move(refusal);
  state_ = State::kRefused;
}

// Beast hands over each field as it comes and forgets it: the sum is ours to bound.
void HttpRequestReader::CountHeader(std::size_t bytes) {
  header_bytes_ += bytes;
  if (header_bytes_ > limits::kHttpHeaderBytesMax) RefuseWith(RefuseHeaderSize());
}

void HttpRequestReader::TakeOnce(std::string_view name, std::string_view value, std::string& into) {
  if (into.empty()) {
    into = value;
  } else {
    RefuseWith(Refuse(ErrorCode::kInvalidArgument, fmt::format("{}: given twice", name)));
  }
}

void HttpRequestReader::TakeField(http::field field, std::string_view name,
                                  std::string_view value) {
  switch (field) {
    case http::field::host:
      ++hosts_;
      return;
    case http::field::content_length:
      // A list of equal lengths, or the same field twice, is one length to some and none to others;
      // so is a length beside a coding.
      if (!content_length_.empty() || chunks_ || value.empty() ||
          value.find_first_not_of("0123456789") != std::string_view::npos) {
        RefuseWith(Refuse(ErrorCode::kInvalidArgument,
                          "Content-Length: want one number, once, without Transfer-Encoding"));
      }
      content_length_ = value;
      return;
    case http::field::transfer_encoding:
      if (!EqualsIgnoringCase(value, "chunked") || !request_.is_http_1_1 || chunks_ ||
          !content_length_.empty()) {
        RefuseWith(Refuse(ErrorCode::kInvalidArgument,
                          "Transfer-Encoding: want 'chunked' alone, once, in HTTP/1.1, without "
                          "Content-Length"));
      }
      chunks_.emplace(body_bytes_max_, limits::kHttpHeaderBytesMax);
      return;
    case http::field::content_type:
      return TakeOnce("Content-Type", value, request_.content_type);
    case http::field::content_encoding:
      request_.has_content_encoding = !EqualsIgnoringCase(value, "identity");
      return;
    case http::field::expect:
      // HTTP/1.0 has no interim answers: there it would be taken for the answer.
      request_.expects_continue = request_.is_http_1_1 && EqualsIgnoringCase(value, "100-continue");
      return;
    default:
      break;
  }
  if (EqualsIgnoringCase(name, "x-request-id")) {
    TakeOnce("X-Request-Id", value, request_.request_id);
  } else if (EqualsIgnoringCase(name, "idempotency-key")) {
    TakeOnce("Idempotency-Key", value, request_.idempotency_key);
    if (value.empty()) {
      RefuseWith(Refuse(ErrorCode::kInvalidArgument,
                        "Idempotency-Key: got nothing, want 1 to 255 "
                        "visible ASCII characters"));
    }
  } else if (IsTenantField(name)) {
    request_.tenant_field = name;
  }
}

void HttpRequestReader::Parser::on_request_impl(http::verb, Text method, Text target, int version,
                                                ErrorCodeOut& ec) {
  reader_.request_.method = View(method);
  reader_.request_.target = View(target);
  reader_.request_.is_http_1_1 = version == 11;
  reader_.CountHeader(method.size() + target.size() + 12);
  if (reader_.refusal_.any()) ec = http::error::header_limit;
}

void HttpRequestReader::Parser::on_field_impl(http::field field, Text name, Text value,
                                              ErrorCodeOut& ec) {
  reader_.CountHeader(name.size() + value.size() + 4);
  reader_.TakeField(field, View(name), View(value));
  if (reader_.refusal_.any()) ec = http::error::bad_value;
}

void HttpRequestReader::Parser::on_header_impl(ErrorCodeOut& ec) {
  if (reader_.request_.is_http_1_1 ? reader_.hosts_ != 1 : reader_.hosts_ > 1) {
    reader_.RefuseWith(Refuse(ErrorCode::kInvalidArgument, "Host: want it once"));
  } else {
    reader_.BeginBody();
  }
  if (reader_.refusal_.any()) ec = http::error::bad_value;
}

}  // namespace bulla
