#include "gateway/grpc/listener.h"

#include <array>
#include <cerrno>
#include <sys/socket.h>
#include <utility>

#include <boost/asio/steady_timer.hpp>

#include "base/thread.h"
#include "gateway/frontend/limits.h"
#include "gateway/frontend/proxy_protocol.h"
#include "gateway/frontend/tcp_listen.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// Connections of proxies whose headers have not arrived. They come with the first packet; more than
// this at a time is nobody's traffic.
constexpr std::size_t kHeaderWaitsMax = 1024;

}  // namespace

// A connection of a trusted proxy, until its header is there. Takes no byte behind it: those are
// gRPC's. Kept alive by what it waits for, and confined to the listener's thread.
class GrpcListener::ProxyHeaderWait : public std::enable_shared_from_this<ProxyHeaderWait> {
 public:
  ProxyHeaderWait(GrpcListener& listener, tcp::socket socket, const IpEndpoint& peer)
      : listener_(listener), socket_(std::move(socket)), patience_(listener.io_), peer_(peer) {
    ++listener_.header_waits_;
  }
  ~ProxyHeaderWait() { --listener_.header_waits_; }
  ProxyHeaderWait(const ProxyHeaderWait&) = delete;
  ProxyHeaderWait& operator=(const ProxyHeaderWait&) = delete;

  void Start() {
    patience_.expires_after(limits::kHttpHeaderTimeout);
    patience_.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error) self->Close();
    });
    Wait();
  }

 private:
  void Wait() {
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& ec) {
      if (!ec) self->OnReadable();
    });
  }

  // What is peeked at and is not yet a whole header is all part of it, so it can be taken.
  void OnReadable() {
    const ssize_t peeked = ::recv(socket_.native_handle(), bytes_.data() + size_,
                                  bytes_.size() - size_, MSG_PEEK | MSG_DONTWAIT);
    if (peeked < 0 && (errno == EAGAIN || errno == EINTR)) return Wait();
    if (peeked <= 0) return Close();
    const ProxyHeader header =
        ParseProxyHeader({bytes_.data(), size_ + static_cast<std::size_t>(peeked)});
    if (header.state == ProxyHeader::State::kMalformed) return Close();
    const bool done = header.state == ProxyHeader::State::kDone;
    const std::size_t mine = done ? header.bytes - size_ : static_cast<std::size_t>(peeked);
    if (::recv(socket_.native_handle(), bytes_.data() + size_, mine, MSG_DONTWAIT) !=
        static_cast<ssize_t>(mine)) {
      return Close();
    }
    size_ += mine;
    if (!done) return Wait();
    patience_.cancel();
    listener_.peers_.Set(peer_, header.source);
    listener_.HandOver(std::move(socket_));
  }

  void Close() {
    error_code ignored;
    socket_.close(ignored);
    patience_.cancel();
  }

  GrpcListener& listener_;
  tcp::socket socket_;
  asio::steady_timer patience_;
  const IpEndpoint peer_;
  std::array<char, kProxyHeaderBytesMax> bytes_;
  std::size_t size_ = 0;
};

absl::StatusOr<std::unique_ptr<GrpcListener>> GrpcListener::Open(Options options,
                                                                 ProxiedPeers& peers) {
  BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseListenEndpoint(options.listen));
  std::unique_ptr<GrpcListener> opened(new GrpcListener(std::move(options), peers));
  // Two gateways on one port would share its connections in silence.
  BULLA_ASSIGN_OR_RETURN(tcp::acceptor listener, ListenOn(opened->io_, endpoint, /*share=*/false));
  opened->address_ = AddressOf(listener);
  opened->protocol_ = endpoint.protocol();
  opened->listener_fd_ = listener.release();
  opened->acceptor_.emplace(
      opened->io_.get_executor(), UniqueFd(opened->listener_fd_),
      Acceptor::Options{.name = "grpc", .on_pause = opened->options_.on_accept_pause},
      [listener = opened.get()](UniqueFd fd) { listener->Take(std::move(fd)); });
  return opened;
}

GrpcListener::~GrpcListener() { StopBlocking(); }

void GrpcListener::Start(std::unique_ptr<Handler> handler) {
  handler_ = std::move(handler);
  acceptor_->Start();
  thread_ = StartThread("grpc-accept", [this] { io_.run(); });
}

void GrpcListener::StopBlocking() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
  if (acceptor_) acceptor_->Close();  // the port may have been taken
}

void GrpcListener::Take(UniqueFd fd) {
  error_code error;
  tcp::socket socket(io_);
  if (socket.assign(protocol_, fd.get(), error)) return;
  fd.Release();
  socket.set_option(tcp::no_delay(true), error);
  if (options_.proxies.empty()) return HandOver(std::move(socket));
  const IpEndpoint peer = ToIpEndpoint(socket.remote_endpoint(error));
  if (error) return;
  if (!options_.proxies.Has(peer.address)) return HandOver(std::move(socket));
  if (header_waits_ >= kHeaderWaitsMax) return;
  std::make_shared<ProxyHeaderWait>(*this, std::move(socket), peer)->Start();
}

void GrpcListener::HandOver(tcp::socket socket) {
  Handler::NewConnectionParameters connection;
  connection.listener_fd = listener_fd_;
  error_code error;  // of a connection that is lost already
  connection.fd = socket.release(error);
  if (!error) handler_->HandleNewConnection(&connection);
}

}  // namespace bulla
