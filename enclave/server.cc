#include "enclave/server.h"

#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

#include <poll.h>

#include "base/thread.h"
#include "wire/grpc_callbacks.h"

namespace bulla {
namespace {

// The largest message is an Unlock with a wrapped DEK of 6 KiB, or a frame of 8.
constexpr int kMessageBytesMax = 64 * 1024;
// A gateway that vanished without closing (a parent that lost power) is noticed by keep-alive.
constexpr int kKeepAliveMs = 10'000;
constexpr int kKeepAliveTimeoutMs = 5'000;

bool Readable(int fd) {
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) > 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EnclaveServer>> EnclaveServer::Start(const Address& address,
                                                                    EnclaveService& service) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd listener, Listen(address));
  KeepGrpcCallbackThreads();
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepAliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepAliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC does not start");
  return std::unique_ptr<EnclaveServer>(new EnclaveServer(
      std::move(listener), UniqueFd(::eventfd(0, EFD_CLOEXEC)), std::move(server)));
}

EnclaveServer::EnclaveServer(UniqueFd listener, UniqueFd wake, std::unique_ptr<grpc::Server> server)
    : listener_(std::move(listener)), wake_(std::move(wake)), server_(std::move(server)) {
  acceptor_ = StartThread("acceptor", [this] { AcceptLoop(); });
}

EnclaveServer::~EnclaveServer() {
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(wake_.get(), &one, sizeof(one));
  acceptor_.join();
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
}

void EnclaveServer::AcceptLoop() {
  while (!Readable(wake_.get())) {
    UniqueFd fd = AcceptBlocking(listener_.get(), wake_.get());
    if (fd.valid()) grpc::AddInsecureChannelFromFd(server_.get(), fd.Release());
  }
}

}  // namespace bulla
