#pragma once

// gateway/link/transport over gRPC, on connections that we dial ourselves: gRPC 1.51 does not know
// vsock by name, and never dials again what it did not dial.

#include <memory>

#include "gateway/link/transport.h"

namespace bulla {

class GrpcTransport final : public EnclaveTransport {
 public:
  GrpcTransport();
  absl::StatusOr<std::shared_ptr<ControlConnection>> DialControlBlocking(
      const Address& address) override;
  absl::StatusOr<std::unique_ptr<FrameConnection>> DialFramesBlocking(
      const Address& address) override;
};

}  // namespace bulla
