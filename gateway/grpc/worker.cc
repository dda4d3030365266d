#include "gateway/grpc/worker.h"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>

#include "gateway/frontend/limits.h"
#include "gateway/frontend/tcp_listen.h"
#include "gateway/grpc/proxy_header_wait.h"
#include "gateway/grpc/sign_stream.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

http2::Session::Options SessionOptions() {
  return {.role = http2::Session::Role::kServer,
          .streams_max = limits::kGrpcCallsPerConnectionMax,
          .keepalive_interval = limits::kGrpcKeepaliveInterval,
          .keepalive_timeout = limits::kGrpcKeepaliveTimeout};
}

}  // namespace

GrpcWorker::GrpcWorker(GrpcShared& shared, std::size_t index)
    : FrontendWorker({.name = "grpc", .index = index, .on_accept_pause = shared.on_accept_pause},
                     shared.service, shared.metrics, shared.clock),
      shared_(shared),
      memory_bytes_max_(shared.options.memory_bytes_max /
                        static_cast<std::size_t>(shared.options.threads)) {}

GrpcWorker::~GrpcWorker() = default;

void GrpcWorker::ServingChanged() {
  asio::post(io(), [this] {
    for (GrpcStandingCall* call : standing_) call->OnServingChanged();
  });
}

// ---- Connections -----------------------------------------------------------------------------

void GrpcWorker::TakeConnection(UniqueFd fd) {
  error_code error;
  tcp::socket socket(io());
  if (socket.assign(endpoint().protocol(), fd.get(), error)) return;
  fd.Release();
  socket.set_option(tcp::no_delay(true), error);
  const IpAddress peer = ToIpAddress(socket.remote_endpoint(error));
  if (error) return;  // it is gone already
  if (!FindPlace()) {
    shared_.metrics.Count(FrontendMethod::kOther, ErrorCode::kRetryLater);
    return;
  }
  if (!shared_.options.proxy_protocol || !shared_.options.forwarded.proxies.Has(peer)) {
    return Begin(UniqueFd(socket.release()), peer);
  }
  // It waits in the place that was found for it.
  const auto wait = std::make_shared<GrpcProxyHeaderWait>(
      std::move(socket),
      [this, peer](GrpcProxyHeaderWait& done, UniqueFd taken, std::optional<IpAddress> source) {
        waits_.erase(done.shared_from_this());
        if (taken.valid()) return Begin(std::move(taken), source.value_or(peer));
        ReturnPlace();
        TellIfEmpty();
      });
  waits_.insert(wait);
  wait->Start(limits::kHttpHeaderTimeout);
}

// A connection that waits for its caller makes room.
bool GrpcWorker::FindPlace() {
  if (shared_.connections.fetch_add(1) < shared_.options.connections_max) return true;
  shared_.connections_ended.Increment();
  GrpcConnection* const other = places_.ToGiveUp();
  if (other == nullptr) {
    ReturnPlace();
    return false;
  }
  Close(*other, absl::ResourceExhaustedError("its place is another's"));
  return true;
}

void GrpcWorker::ReturnPlace() { shared_.connections.fetch_sub(1); }

void GrpcWorker::Begin(UniqueFd fd, const IpAddress& source) {
  auto connection = std::make_unique<GrpcConnection>(*this, source);
  GrpcConnection* const key = connection.get();
  const auto carrier = http2::Connection::Start(io(), std::move(fd), shared_.clock,
                                                SessionOptions(), std::move(connection));
  connections_.emplace(key, carrier);
  if (draining()) carrier->Drain();
}

void GrpcWorker::Close(GrpcConnection& connection, absl::Status reason) {
  connection.LeavePlace();
  connections_.at(&connection)->Close(std::move(reason));
}

void GrpcWorker::Remove(GrpcConnection& connection) {
  connections_.erase(&connection);
  TellIfEmpty();
}

// More memory than callers may have: those who have most lose it. What is looked at ten times a
// second cannot grow by more than what arrives in between.
void GrpcWorker::TickConnections(MonotonicTime) {
  std::vector<std::pair<std::size_t, GrpcConnection*>> holders;
  std::size_t total = 0;
  for (const auto& [connection, carrier] : connections_) {
    const std::size_t bytes = carrier->closed() ? 0 : connection->memory_bytes();
    total += bytes;
    if (bytes > 0) holders.emplace_back(bytes, connection);
  }
  if (total <= memory_bytes_max_) return;
  std::sort(holders.rbegin(), holders.rend());
  for (const auto& [bytes, connection] : holders) {
    shared_.connections_ended.Increment();
    Close(*connection, absl::ResourceExhaustedError("it holds most of the memory of all callers"));
    total -= bytes;
    if (total <= memory_bytes_max_) return;
  }
}

void GrpcWorker::DrainConnections() {
  // Each takes itself off the list.
  for (auto call = standing_.begin(); call != standing_.end();) (*call++)->OnDrain();
  for (const auto& [connection, carrier] : connections_) carrier->Drain();
}

void GrpcWorker::StopConnections() {
  for (const auto& wait : std::exchange(waits_, {})) {
    wait->Close();
    ReturnPlace();
  }
  for (const auto& [connection, carrier] : connections_) {
    carrier->Close(absl::CancelledError("the gateway stops"));
  }
}

// ---- Signatures that are back ----------------------------------------------------------------

void GrpcWorker::OnCallDone(SignCall& call) {
  auto& done = static_cast<GrpcSignCall&>(call);
  done.signer->OnCallDone(done);
}

void GrpcWorker::FlushLater(std::shared_ptr<GrpcSignStream> stream) {
  to_flush_.push_back(std::move(stream));
}

void GrpcWorker::OnCallsDone() {
  for (const auto& stream : to_flush_) stream->Flush();
  to_flush_.clear();
}

}  // namespace bulla
