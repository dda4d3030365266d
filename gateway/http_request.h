#pragma once

// One HTTP/1.1 request out of the bytes of a connection: Boost.Beast's parser without its field
// container, since a handful of fields matter here, and with a stricter view of where a request
// ends (RFC 9112, sections 6 and 11.2): whatever two readers of the same bytes could understand
// differently is refused.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/beast/http/basic_parser.hpp>

#include "wire/errors.h"

namespace bulla {

struct HttpRequest {
  std::string method;
  std::string target;  // as sent
  std::string content_type;
  std::string request_id;
  std::string idempotency_key;
  std::string body;
  std::string tenant_field;  // the name of a tenant field that was sent, else empty
  bool is_http_1_1 = false;
  bool has_content_encoding = false;
  bool expects_continue = false;

  void Clear();  // keeps the memory of small strings
};

// An answer other than the service's: an error of the table, with the status line refined where
// HTTP has a word for it (404, 405, 408, 415).
struct HttpRefusal {
  int status = 0;  // 0: none
  Error error;

  bool any() const { return status != 0; }
};
HttpRefusal Refuse(ErrorCode code, std::string message);
HttpRefusal Refuse(int status, ErrorCode code, std::string message);

// Confined to its connection's thread.
class HttpRequestReader {
 public:
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
  class Parser final : public boost::beast::http::basic_parser<true> {
   public:
    explicit Parser(HttpRequestReader& reader) : reader_(reader) {}

   private:
    using ErrorCodeOut = boost::beast::error_code;
    using Text = boost::beast::string_view;

    void on_request_impl(boost::beast::http::verb, Text method, Text target, int version,
                         ErrorCodeOut& ec) override;
    void on_response_impl(int, Text, int, ErrorCodeOut&) override {}
    void on_field_impl(boost::beast::http::field field, Text name, Text value,
                       ErrorCodeOut& ec) override;
    void on_header_impl(ErrorCodeOut& ec) override;
    void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCodeOut&) override {}
    std::size_t on_body_impl(Text part, ErrorCodeOut&) override;
    void on_chunk_header_impl(std::uint64_t, Text extensions, ErrorCodeOut& ec) override;
    std::size_t on_chunk_body_impl(std::uint64_t, Text part, ErrorCodeOut&) override;
    void on_finish_impl(ErrorCodeOut&) override;

    HttpRequestReader& reader_;
  };

  void TakeField(boost::beast::http::field field, std::string_view name, std::string_view value);
  void TakeOnce(std::string_view name, std::string_view value, std::string& into);
  void CountOverhead(std::size_t bytes);
  void RefuseWith(HttpRefusal refusal);

  const std::size_t body_bytes_max_;
  std::optional<Parser> parser_;
  HttpRequest request_;
  HttpRefusal refusal_;
  State state_ = State::kIdle;
  std::size_t overhead_bytes_ = 0;  // of header fields, trailers and chunk extensions so far
  int hosts_ = 0;
  int content_lengths_ = 0;
  std::string content_length_;
};

}  // namespace bulla
