#pragma once

// gateway/link/transport over gRPC as http2/ speaks it, on connections that we dial ourselves:
// vsock, a Unix socket or TCP, the same code. Each connection belongs to one event loop, whose
// thread reads, decodes and tells; what others write is handed to it encoded.

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "gateway/link/transport.h"

namespace bulla {

class Http2Transport final : public EnclaveTransport {
 public:
  // One loop carries some hundred thousand signatures a second, frames of 32: more than eight CPUs
  // make. More loops than that would only divide what gathers.
  static std::size_t DefaultLoops();

  explicit Http2Transport(const Clock& clock, std::size_t loops = DefaultLoops());
  // Ends the loops. Requires: no connection is under way any more.
  ~Http2Transport() override;

  absl::StatusOr<std::shared_ptr<ControlConnection>> DialControlBlocking(
      const Address& address) override;
  absl::StatusOr<std::unique_ptr<FrameConnection>> DialFramesBlocking(
      const Address& address) override;

 private:
  class Loop;
  Loop& NextLoop();

  const Clock& clock_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace bulla
