#include "gateway/grpc_listener.h"

#include <utility>

#include "base/errno_text.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/tcp_listen.h"

namespace bulla {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

// Most likely no descriptor is free. Trying at once would spin.
constexpr std::chrono::milliseconds kPause{100};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcListener>> GrpcListener::Open(const std::string& listen) {
  std::unique_ptr<GrpcListener> listener(new GrpcListener);
  BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseListenEndpoint(listen));
  // Two gateways on one port would share its connections in silence.
  BULLA_ASSIGN_OR_RETURN(listener->listener_, ListenOn(listener->io_, endpoint, /*share=*/false));
  return listener;
}

GrpcListener::~GrpcListener() { StopBlocking(); }

std::string GrpcListener::address() const { return AddressOf(listener_); }

void GrpcListener::Start(std::unique_ptr<Acceptor> acceptor) {
  acceptor_ = std::move(acceptor);
  Accept();
  thread_ = StartThread("grpc-accept", [this] { io_.run(); });
}

void GrpcListener::StopBlocking() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
  error_code ignored;
  listener_.close(ignored);
}

void GrpcListener::Accept() {
  listener_.async_accept([this](const error_code& error, tcp::socket socket) {
    if (!error) {
      HandOver(std::move(socket));
      return Accept();
    }
    LogWarn("grpc_accept_failed", {{"error", ErrnoText(error.value())}});
    pause_.expires_after(kPause);
    pause_.async_wait([this](const error_code&) { Accept(); });
  });
}

void GrpcListener::HandOver(tcp::socket socket) {
  error_code ignored;  // of a connection that is lost already, which gRPC finds out
  socket.non_blocking(true, ignored);
  socket.set_option(tcp::no_delay(true), ignored);
  Acceptor::NewConnectionParameters connection;
  connection.listener_fd = listener_.native_handle();
  connection.fd = socket.release(ignored);
  if (!ignored) acceptor_->HandleNewConnection(&connection);
}

}  // namespace bulla
