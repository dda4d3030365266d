#include "localkms/server.h"

#include <atomic>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <openssl/ssl.h>
#include <thread>
#include <type_traits>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include "base/acceptor.h"
#include "base/errno_text.h"
#include "base/host_port.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kBodyBytesMax = 512 * 1024;  // an attestation document of 256 KiB in base64
constexpr std::uint32_t kHeaderBytesMax = 16 * 1024;
constexpr std::size_t kConnectionsMax = 1024;
constexpr auto kHandshakeTime = std::chrono::seconds(5);
constexpr auto kIdleTime = std::chrono::seconds(60);  // also the longest that one request may take
constexpr auto kDrainTime = std::chrono::seconds(5);

using PlainStream = beast::tcp_stream;
using TlsStream = asio::ssl::stream<beast::tcp_stream>;

KmsRequest ToKmsRequest(http::request<http::string_body>&& request) {
  KmsRequest out;
  out.method = std::string(request.method_string().data(), request.method_string().size());
  out.target = std::string(request.target().data(), request.target().size());
  for (const auto& field : request) {
    out.headers.emplace_back(std::string(field.name_string().data(), field.name_string().size()),
                             std::string(field.value().data(), field.value().size()));
  }
  out.body = std::move(request.body());
  return out;
}

// The sessions that are open. Thread-safe; outlives them all.
class SessionList {
 public:
  using Close = std::function<void()>;

  // 0 where there are too many, or the server is stopping.
  std::uint64_t Add(Close close) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (stopping_ || sessions_.size() >= kConnectionsMax) return 0;
    sessions_.emplace(++last_, std::move(close));
    return last_;
  }
  void Remove(std::uint64_t id) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    sessions_.erase(id);
    if (sessions_.empty()) empty_.NotifyAll();
  }
  bool stopping() const { return stopping_; }
  // Asks every session to end once it has answered, and waits for that.
  void Drain() BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    stopping_ = true;
    for (auto& session : sessions_) session.second();
    empty_.WaitFor(mutex_, kDrainTime,
                   [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return sessions_.empty(); });
  }

 private:
  Mutex mutex_;
  CondVar empty_;
  std::map<std::uint64_t, Close> sessions_ BULLA_GUARDED_BY(mutex_);
  std::uint64_t last_ BULLA_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> stopping_ = false;  // written with the mutex held
};

// One connection. Everything runs on its stream's strand; pending operations keep it alive.
template <typename Stream>
class Session : public std::enable_shared_from_this<Session<Stream>> {
 public:
  Session(Stream stream, const KmsServer::Handler& handler, SessionList& list)
      : stream_(std::move(stream)), handler_(handler), list_(list) {}
  ~Session() {
    if (id_ != 0) list_.Remove(id_);
  }

  void Start() {
    id_ = list_.Add([this] {  // until ~Session
      asio::post(stream_.get_executor(), [weak = this->weak_from_this()] {
        if (auto self = weak.lock()) self->CloseIfIdle();
      });
    });
    if (id_ == 0) return;
    asio::dispatch(stream_.get_executor(), [self = this->shared_from_this()] { self->Open(); });
  }

 private:
  void Open() {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      Tcp().expires_after(kHandshakeTime);
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](error_code error) {
                                if (!error) self->Read();
                              });
    } else {
      Read();
    }
  }

  void Read() {
    if (list_.stopping()) return;
    parser_.emplace();
    parser_->body_limit(kBodyBytesMax);
    parser_->header_limit(kHeaderBytesMax);
    Tcp().expires_after(kIdleTime);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](error_code error, std::size_t) { self->OnRead(error); });
  }

  void OnRead(error_code error) {
    if (error == http::error::body_limit) return Answer({413, "{}"}, 11, false);
    if (error) return;
    answering_ = true;
    unsigned version = parser_->get().version();
    bool keep_alive = parser_->get().keep_alive();
    Answer(handler_(ToKmsRequest(parser_->release())), version, keep_alive);
  }

  void Answer(KmsReply reply, unsigned version, bool keep_alive) {
    response_ = {};
    response_.version(version);
    response_.result(static_cast<unsigned>(reply.status));
    response_.set(http::field::content_type, "application/x-amz-json-1.1");
    response_.body() = std::move(reply.body);
    response_.keep_alive(keep_alive && !list_.stopping());
    response_.prepare_payload();
    Tcp().expires_after(kIdleTime);
    http::async_write(stream_, response_,
                      [self = this->shared_from_this()](error_code error, std::size_t) {
                        self->answering_ = false;
                        if (!error && self->response_.keep_alive()) self->Read();
                      });
  }

  // A connection that waits for a request has nothing to lose; the next one's sender tries again.
  void CloseIfIdle() {
    if (!answering_) Tcp().close();
  }

  beast::tcp_stream& Tcp() {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      return stream_.next_layer();
    } else {
      return stream_;
    }
  }

  Stream stream_;
  const KmsServer::Handler& handler_;
  SessionList& list_;
  std::uint64_t id_ = 0;
  bool answering_ = false;
  beast::flat_buffer buffer_{kBodyBytesMax + kHeaderBytesMax};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

std::string TextOf(const tcp::endpoint& endpoint) {
  return HostPort{endpoint.address().to_string(), endpoint.port()}.ToString();
}

absl::StatusOr<tcp::endpoint> ParseLoopback(const std::string& listen) {
  BULLA_ASSIGN_OR_RETURN(SocketAddress address, ParseListenAddress(listen));
  if (!address.is_loopback()) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is not a loopback address: this KMS is for development and is never "
                    "offered to a network",
                    listen));
  }
  tcp::endpoint endpoint;
  endpoint.resize(address.size);
  std::memcpy(endpoint.data(), address.data(), address.size);
  return endpoint;
}

}  // namespace

class KmsServer::Impl {
 public:
  Impl(Handler handler, int threads)
      : handler_(std::move(handler)), loop_(threads), strand_(asio::make_strand(loop_)) {}
  ~Impl() { Stop(); }

  absl::Status Listen(const tcp::endpoint& endpoint, const std::optional<TlsFiles>& tls) {
    if (tls) BULLA_RETURN_IF_ERROR(LoadTls(*tls));
    error_code error;
    tcp::acceptor listener(loop_);
    listener.open(endpoint.protocol(), error);
    if (!error) listener.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) listener.bind(endpoint, error);
    if (!error) listener.listen(asio::socket_base::max_listen_connections, error);
    if (!error) endpoint_ = listener.local_endpoint(error);
    if (error) {
      return absl::UnavailableError(
          fmt::format("listener {}: {}", TextOf(endpoint), ErrnoText(error.value())));
    }
    acceptor_.emplace(strand_, UniqueFd(listener.release()),
                      Acceptor::Options{.name = "kms", .on_pause = {}},
                      [this](UniqueFd fd) { Take(std::move(fd)); });
    return absl::OkStatus();
  }

  void Run(int threads) {
    asio::post(strand_, [this] { acceptor_->Start(); });
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this] {
        SetThreadName("kms-io");
        loop_.run();
      });
    }
  }

  std::string address() const { return TextOf(endpoint_); }

  void Stop() {
    if (threads_.empty()) return;
    asio::post(strand_, [this] { acceptor_->Close(); });
    sessions_.Drain();
    loop_.stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  absl::Status LoadTls(const TlsFiles& files) {
    tls_.emplace(asio::ssl::context::tls_server);
    SSL_CTX_set_min_proto_version(tls_->native_handle(), TLS1_2_VERSION);
    error_code error;
    tls_->use_certificate_chain_file(files.certificate, error);
    if (!error) tls_->use_private_key_file(files.key, asio::ssl::context::pem, error);
    if (error) {
      return absl::FailedPreconditionError(
          fmt::format("TLS files {} and {}: {}", files.certificate, files.key, error.message()));
    }
    return absl::OkStatus();
  }

  void Take(UniqueFd fd) {
    tcp::socket socket(asio::make_strand(loop_));
    error_code error;
    if (socket.assign(endpoint_.protocol(), fd.get(), error)) return;
    fd.Release();
    socket.set_option(tcp::no_delay(true), error);
    StartSession(std::move(socket));
  }

  void StartSession(tcp::socket socket) {
    beast::tcp_stream stream(std::move(socket));
    if (tls_) {
      std::make_shared<Session<TlsStream>>(TlsStream(std::move(stream), *tls_), handler_, sessions_)
          ->Start();
    } else {
      std::make_shared<Session<PlainStream>>(std::move(stream), handler_, sessions_)->Start();
    }
  }

  const Handler handler_;
  SessionList sessions_;  // outlives the loop, whose handlers hold the sessions
  std::optional<asio::ssl::context> tls_;
  asio::io_context loop_;
  const asio::strand<asio::io_context::executor_type> strand_;  // of the acceptor
  std::optional<Acceptor> acceptor_;
  tcp::endpoint endpoint_;
  std::vector<std::thread> threads_;
};

KmsServer::KmsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KmsServer::~KmsServer() = default;

absl::StatusOr<std::unique_ptr<KmsServer>> KmsServer::Start(const ServerOptions& options,
                                                            Handler handler) {
  BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseLoopback(options.listen));
  auto impl = std::make_unique<Impl>(std::move(handler), options.threads);
  BULLA_RETURN_IF_ERROR(impl->Listen(endpoint, options.tls));
  impl->Run(options.threads);
  return std::unique_ptr<KmsServer>(new KmsServer(std::move(impl)));
}

std::string KmsServer::address() const { return impl_->address(); }
void KmsServer::Stop() { impl_->Stop(); }

}  // namespace bulla
