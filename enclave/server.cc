#include "enclave/server.h"

#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>

#include "base/log.h"
#include "base/thread.h"
#include "http2/connection.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;

// A gateway has 33 at most. More than some of them have together is nobody we serve.
constexpr std::size_t kConnectionsMax = 512;
// For calls that are under way when the enclave stops.
constexpr milliseconds kDrainTimeout{1000};

http2::Session::Options SessionOptions() {
  http2::Session::Options options;
  options.role = http2::Session::Role::kServer;
  // The gateway's unlocks, four at a time, beside a call of each other kind; or one session.
  options.streams_max = 64;
  // The largest message; what is over it would be refused anyway.
  options.stream_window_bytes = 64 * 1024;
  options.connection_window_bytes = 256 * 1024;
  // Two answers of the size that a gateway reads at most.
  options.memory_bytes_max = 8 * 1024 * 1024;
  // A gateway probes on one of its connections every second, and keeps a stream on the others.
  options.idle_timeout = milliseconds(60'000);
  // A gateway that vanished without closing (a parent that lost power) is noticed.
  options.keepalive_interval = milliseconds(10'000);
  options.keepalive_timeout = milliseconds(5'000);
  return options;
}

http2::GrpcServer::Options GrpcOptions() {
  http2::GrpcServer::Options options;
  // The largest message is an Unlock with a wrapped DEK of 6 KiB, or a frame of 8, or a Forget of
  // 32.
  options.message_bytes_max = 64 * 1024;
  options.partial_bytes_max = 256 * 1024;
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EnclaveServer>> EnclaveServer::Start(const Address& address,
                                                                    EnclaveService& service,
                                                                    const Clock& clock) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd listener, Listen(address));
  return std::unique_ptr<EnclaveServer>(new EnclaveServer(std::move(listener), service, clock));
}

EnclaveServer::EnclaveServer(UniqueFd listener, EnclaveService& service, const Clock& clock)
    : clock_(clock),
      acceptor_(io_.get_executor(), std::move(listener), {.name = "enclave", .on_pause = {}},
                [this](UniqueFd fd) { Take(std::move(fd)); }) {
  service.AddTo(methods_);
  acceptor_.Start();
  thread_ = StartThread("io", [this] {
    io_.run();
    MutexLock lock(mutex_);
    ended_ = true;
    ended_changed_.NotifyAll();
  });
}

void EnclaveServer::Take(UniqueFd fd) {
  std::erase_if(connections_, [](const auto& connection) { return connection.expired(); });
  if (connections_.size() >= kConnectionsMax) {
    LogWarn("connection_refused", {{"connections", connections_.size()}});
    return;
  }
  TuneConnection(fd.get());
  connections_.push_back(
      http2::Connection::Start(io_, std::move(fd), clock_, SessionOptions(),
                               std::make_unique<http2::GrpcServer>(GrpcOptions(), methods_)));
}

void EnclaveServer::Drain() {
  acceptor_.Close();
  for (const auto& weak : connections_) {
    if (const auto connection = weak.lock()) connection->Drain();
  }
}

EnclaveServer::~EnclaveServer() {
  boost::asio::post(io_, [this] { Drain(); });
  {
    MutexLock lock(mutex_);
    ended_changed_.WaitFor(mutex_, kDrainTimeout,
                           [this]() BULLA_REQUIRES(mutex_) { return ended_; });
  }
  io_.stop();
  thread_.join();
  // Workers and unlocks that are still under way answer nobody, and no loop, from here on.
  for (const auto& weak : connections_) {
    if (const auto connection = weak.lock()) connection->Abort(absl::CancelledError("stopping"));
  }
}

}  // namespace bulla
