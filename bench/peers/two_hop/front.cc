#include "bench/peers/two_hop/front.h"

#include <csignal>
#include <fmt/format.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

#include "bench/peers/two_hop/run_threads.h"
#include "crypto/address.h"

namespace peers {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace json = boost::json;
using boost::system::error_code;
using Tcp = asio::ip::tcp;

struct SignBody {
  bulla::KeyId id;
  bulla::Digest32 digest{};
};

std::optional<SignBody> ReadSignBody(const std::string& text) {
  error_code error;
  json::value value = json::parse(text, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (object == nullptr) return std::nullopt;
  const json::value* id = object->if_contains("keyId");
  const json::value* digest = object->if_contains("digest");
  if (id == nullptr || !id->is_string() || digest == nullptr || !digest->is_string()) {
    return std::nullopt;
  }
  SignBody body;
  const json::string& digits = digest->get_string();
  if (!bulla::HexDecode({digits.data(), digits.size()}, body.digest)) return std::nullopt;
  const json::string& id_text = id->get_string();
  std::optional<bulla::KeyId> parsed = bulla::KeyId::Parse({id_text.data(), id_text.size()});
  if (!parsed) return std::nullopt;
  body.id = *parsed;
  return body;
}

// One caller's connection, on its strand. Lives as long as its operations.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Tcp::socket socket, Link& link) : stream_(std::move(socket)), link_(link) {
    stream_.socket().set_option(Tcp::no_delay(true));
  }

  void Read() {
    request_ = {};
    http::async_read(stream_, buffer_, request_,
                     [self = shared_from_this()](error_code error, std::size_t) {
                       if (!error) self->Route();
                     });
  }

 private:
  void Route() {
    if (request_.method() != http::verb::post) return Refuse(http::status::method_not_allowed);
    if (request_.target() == "/sign") return Sign();
    if (request_.target() == "/create") return Create();
    Refuse(http::status::not_found);
  }

  void Create() {
    link_.Create([self = shared_from_this()](std::optional<NewKey> key) {
      asio::dispatch(self->stream_.get_executor(), [self, key] {
        if (!key) return self->Refuse(http::status::service_unavailable);
        self->Write(
            http::status::ok,
            fmt::format(R"({{"keyId":"{}","publicKey":"{}","address":"{}"}})", key->id.ToString(),
                        bulla::HexEncode0x(key->public_key), bulla::ToEip55(key->address)));
      });
    });
  }

  void Sign() {
    std::optional<SignBody> body = ReadSignBody(request_.body());
    if (!body) return Refuse(http::status::bad_request);
    link_.Sign(body->id, body->digest,
               [self = shared_from_this()](std::optional<bulla::RecoverableSignature> signature) {
                 asio::dispatch(self->stream_.get_executor(), [self, signature] {
                   if (!signature) return self->Refuse(http::status::not_found);
                   self->Write(
                       http::status::ok,
                       fmt::format(R"({{"signature":"{}","recoveryId":{}}})",
                                   bulla::HexEncode0x(signature->rs), signature->recovery_id));
                 });
               });
  }

  void Refuse(http::status status) {
    Write(status, fmt::format(R"({{"error":{{"code":"{}"}}}})", static_cast<unsigned>(status)));
  }

  void Write(http::status status, std::string body) {
    response_ = {status, request_.version()};
    response_.set(http::field::content_type, "application/json");
    response_.keep_alive(request_.keep_alive());
    response_.body() = std::move(body);
    response_.prepare_payload();
    http::async_write(stream_, response_,
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (!error && self->response_.keep_alive()) self->Read();
                      });
  }

  beast::tcp_stream stream_;
  Link& link_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> response_;
};

void Accept(asio::io_context& context, Tcp::acceptor& acceptor, Link& link) {
  acceptor.async_accept(asio::make_strand(context),
                        [&context, &acceptor, &link](error_code error, Tcp::socket socket) {
                          if (error == asio::error::operation_aborted) return;
                          if (!error) std::make_shared<Connection>(std::move(socket), link)->Read();
                          Accept(context, acceptor, link);
                        });
}

}  // namespace

void ServeHttpBlocking(asio::io_context& context, Link& link, const std::string& host,
                       std::uint16_t port, const std::function<void(std::uint16_t)>& ready) {
  Tcp::acceptor acceptor(context, {asio::ip::make_address(host), port});
  Accept(context, acceptor, link);
  asio::signal_set signals(context, SIGTERM, SIGINT);
  signals.async_wait([&context](error_code, int) { context.stop(); });
  ready(acceptor.local_endpoint().port());
  RunThreadsBlocking(context);
}

}  // namespace peers
