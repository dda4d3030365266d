#include "gateway/http_request.h"

#include <algorithm>
#include <cctype>
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

HttpRefusal RefuseParserError(const error_code& ec, std::size_t body_bytes_max) {
  if (ec == http::error::header_limit) {
    return Refuse(ErrorCode::kPayloadTooLarge,
                  fmt::format("header: over {} bytes", limits::kHttpHeaderBytesMax));
  }
  if (ec == http::error::body_limit) {
    return Refuse(ErrorCode::kPayloadTooLarge, fmt::format("body: over {} bytes", body_bytes_max));
  }
  return Refuse(ErrorCode::kInvalidArgument,
                fmt::format("request: not well-formed HTTP/1.1: {}", ec.message()));
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
  overhead_bytes_ = 0;
  hosts_ = content_lengths_ = 0;
  content_length_.clear();
  parser_.emplace(*this);
  parser_->eager(true);
  parser_->header_limit(limits::kHttpHeaderBytesMax);
  parser_->body_limit(body_bytes_max_);
}

std::size_t HttpRequestReader::Consume(std::string_view bytes) {
  if (bytes.empty()) return 0;
  if (state_ == State::kIdle) state_ = State::kHeader;
  error_code ec;
  std::size_t used = parser_->put(boost::asio::const_buffer(bytes.data(), bytes.size()), ec);
  if (ec && ec != http::error::need_more && !refusal_.any()) {
    if (ec == http::error::body_limit && !content_length_.empty()) {
      RefuseWith(Refuse(
          ErrorCode::kPayloadTooLarge,
          fmt::format("body: got {} bytes, want at most {}", content_length_, body_bytes_max_)));
    } else {
      RefuseWith(RefuseParserError(ec, body_bytes_max_));
    }
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

void HttpRequestReader::CountOverhead(std::size_t bytes) {
  overhead_bytes_ += bytes;
  if (overhead_bytes_ > limits::kHttpHeaderBytesMax) {
    RefuseWith(RefuseParserError(http::error::header_limit, body_bytes_max_));
  }
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
      content_length_ = value.substr(0, 20);
      // A list of equal lengths, or the same field twice, is one length to some and none to others.
      if (++content_lengths_ > 1 ||
          value.find_first_not_of("0123456789") != std::string_view::npos) {
        RefuseWith(Refuse(ErrorCode::kInvalidArgument, "Content-Length: want one number, once"));
      }
      return;
    case http::field::transfer_encoding:
      if (!EqualsIgnoringCase(value, "chunked") || !request_.is_http_1_1) {
        RefuseWith(Refuse(ErrorCode::kInvalidArgument,
                          "Transfer-Encoding: want 'chunked' alone, in HTTP/1.1, or none"));
      }
      return;
    case http::field::content_type:
      return TakeOnce("Content-Type", value, request_.content_type);
    case http::field::content_encoding:
      request_.has_content_encoding = !EqualsIgnoringCase(value, "identity");
      return;
    case http::field::expect:
      request_.expects_continue = EqualsIgnoringCase(value, "100-continue");
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
  reader_.CountOverhead(method.size() + target.size());
  if (reader_.refusal_.any()) ec = http::error::header_limit;
}

void HttpRequestReader::Parser::on_field_impl(http::field field, Text name, Text value,
                                              ErrorCodeOut& ec) {
  // Beast hands over each field as it comes and forgets it: the sum is ours to bound.
  reader_.CountOverhead(name.size() + value.size() + 4);
  // Past the header these are trailers, which nothing here has a use for.
  if (reader_.state_ == State::kHeader) reader_.TakeField(field, View(name), View(value));
  if (reader_.refusal_.any()) ec = http::error::bad_value;
}

void HttpRequestReader::Parser::on_header_impl(ErrorCodeOut& ec) {
  if (reader_.request_.is_http_1_1 ? reader_.hosts_ != 1 : reader_.hosts_ > 1) {
    reader_.RefuseWith(Refuse(ErrorCode::kInvalidArgument, "Host: want it once"));
    ec = http::error::bad_value;
    return;
  }
  reader_.state_ = State::kBody;
}

std::size_t HttpRequestReader::Parser::on_body_impl(Text part, ErrorCodeOut&) {
  reader_.request_.body.append(part.data(), part.size());
  return part.size();
}

void HttpRequestReader::Parser::on_chunk_header_impl(std::uint64_t, Text extensions,
                                                     ErrorCodeOut& ec) {
  reader_.CountOverhead(extensions.size());
  if (reader_.refusal_.any()) ec = http::error::bad_chunk_extension;
}

std::size_t HttpRequestReader::Parser::on_chunk_body_impl(std::uint64_t, Text part, ErrorCodeOut&) {
  reader_.request_.body.append(part.data(), part.size());
  return part.size();
}

void HttpRequestReader::Parser::on_finish_impl(ErrorCodeOut&) { reader_.state_ = State::kDone; }

}  // namespace bulla
