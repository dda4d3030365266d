#include "cli/http_client.h"

#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace bulla {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

absl::Status StatusOf(const error_code& error) {
  if (error == beast::error::timeout) return absl::DeadlineExceededError("no answer in time");
  if (error == boost::system::errc::permission_denied) {
    return absl::PermissionDeniedError(
        fmt::format("{}: it is for root and the gateway's own user", error.message()));
  }
  if (error.category() == http::make_error_code(http::error::end_of_stream).category()) {
    return absl::DataLossError(fmt::format("the answer is not HTTP: {}", error.message()));
  }
  return absl::UnavailableError(error.message());
}

// Beast's time limit holds for asynchronous operations only, so each step is one, run to its end.
class Connection {
 public:
  explicit Connection(std::chrono::milliseconds timeout) : stream_(context_) {
    stream_.expires_after(timeout);
  }

  error_code Connect(const HttpUrl& url) {
    if (!url.socket.empty()) {
      return ConnectTo(asio::local::stream_protocol::endpoint(url.socket));
    }
    error_code error;
    asio::ip::tcp::resolver resolver(context_);
    auto addresses = resolver.resolve(url.at.host, std::to_string(url.at.port), error);
    if (error) return error;
    for (const auto& address : addresses) {
      error = ConnectTo(address.endpoint());
      if (!error || error == beast::error::timeout) break;
    }
    return error;
  }
  error_code Write(const http::request<http::string_body>& request) {
    return Run([&](auto done) { http::async_write(stream_, request, done); });
  }
  error_code Read(http::response_parser<http::string_body>& parser) {
    return Run([&](auto done) { http::async_read(stream_, buffer_, parser, done); });
  }

 private:
  using Stream = beast::basic_stream<asio::generic::stream_protocol>;  // TCP or a Unix socket

  error_code ConnectTo(const asio::generic::stream_protocol::endpoint& address) {
    error_code ignored;
    stream_.socket().close(ignored);  // of the address before
    error_code error;
    stream_.socket().open(asio::generic::stream_protocol(address.protocol().family(), 0), error);
    if (error) return error;
    return Run([&](auto done) { stream_.async_connect(address, done); });
  }

  template <typename Start>
  error_code Run(Start start) {
    error_code result;
    start([&result](const error_code& error, const auto&...) { result = error; });
    context_.restart();
    context_.run();
    return result;
  }

  asio::io_context context_{1};
  Stream stream_;
  beast::flat_buffer buffer_{kReplyBytesMax};
};

http::request<http::string_body> MessageOf(const HttpUrl& url, const HttpRequest& request) {
  http::request<http::string_body> message;
  message.version(11);
  message.method_string({request.method.data(), request.method.size()});
  message.target(url.path + request.target);
  message.set(http::field::host, url.socket.empty() ? url.at.ToString() : "localhost");
  message.set(http::field::user_agent, "bulla");
  message.set(http::field::connection, "close");
  if (!request.idempotency_key.empty()) {
    message.set("Idempotency-Key", request.idempotency_key);
  }
  if (!request.json_body.empty()) {
    message.set(http::field::content_type, "application/json");
    message.body() = request.json_body;
  }
  message.prepare_payload();
  return message;
}

}  // namespace

absl::StatusOr<HttpReply> CallBlocking(const HttpUrl& url, const HttpRequest& request,
                                       std::chrono::milliseconds timeout) {
  Connection connection(timeout);
  if (error_code error = connection.Connect(url)) return StatusOf(error);
  if (error_code error = connection.Write(MessageOf(url, request))) return StatusOf(error);
  http::response_parser<http::string_body> parser;
  parser.body_limit(kReplyBytesMax);
  if (error_code error = connection.Read(parser)) return StatusOf(error);
  http::response<http::string_body> reply = parser.release();
  return HttpReply{static_cast<int>(reply.result_int()), std::move(reply.body())};
}

}  // namespace bulla
