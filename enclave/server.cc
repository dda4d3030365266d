#include "enclave/server.h"

#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <utility>

#include "base/clock.h"
#include "base/thread.h"
#include "wire/grpc_callbacks.h"

namespace bulla {
namespace {

// The largest message is an Unlock with a wrapped DEK of 6 KiB, or a frame of 8.
constexpr int kMessageBytesMax = 64 * 1024;
// A gateway that vanished without closing (a parent that lost power) is noticed by keep-alive.
constexpr int kKeepAliveMs = 10'000;
constexpr int kKeepAliveTimeoutMs = 5'000;

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
  return std::unique_ptr<EnclaveServer>(new EnclaveServer(std::move(listener), std::move(server)));
}

EnclaveServer::EnclaveServer(UniqueFd listener, std::unique_ptr<grpc::Server> server)
    : server_(std::move(server)),
      acceptor_(io_.get_executor(), std::move(listener), {.name = "enclave", .on_pause = {}},
                [this](UniqueFd fd) {
                  TuneConnection(fd.get());
                  grpc::AddInsecureChannelFromFd(server_.get(), fd.Release());
                }) {
  acceptor_.Start();
  thread_ = StartThread("acceptor", [this] { io_.run(); });
}

EnclaveServer::~EnclaveServer() {
  io_.stop();
  thread_.join();
  server_->Shutdown(RealClock().WallNow() + std::chrono::seconds(1));
}

}  // namespace bulla
