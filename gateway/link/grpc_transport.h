#pragma once

// gateway/link/transport over gRPC, on connections that we dial ourselves: gRPC 1.51 does not know
// vsock by name.

#include <grpcpp/grpcpp.h>
#include <memory>

#include "base/status.h"
#include "gateway/link/transport.h"
#include "wire/address.h"

namespace bulla {

// A channel on one connection, which it owns and never dials again.
absl::StatusOr<std::shared_ptr<grpc::Channel>> DialChannelBlocking(const Address& address);

// A session on a channel that nothing else uses.
std::unique_ptr<FrameConnection> MakeGrpcFrameConnection(std::shared_ptr<grpc::Channel> channel);

}  // namespace bulla
