#pragma once

// One stream from a gateway: frames come in and go to the workers, replies go out as the event loop
// comes to it, so that what gathers meanwhile leaves as one frame. What is called decodes, hands
// over and returns; it never signs and never blocks.

#include <memory>

#include "base/clock.h"
#include "enclave/workers.h"
#include "http2/grpc_server.h"
#include "wire/enclave.pb.h"

namespace bulla {

class SessionOutbox;

// Confined to its connection's loop.
class Session final : public http2::GrpcHandler {
 public:
  // Counts its frames in `counters`. All outlive it.
  Session(Workers& workers, EnclaveCounters& counters, const Clock& clock,
          http2::GrpcServer& server, http2::StreamId stream);
  ~Session() override;

  void OnMessage(ByteSpan message) override;
  void OnHalfClose() override;

 private:
  Workers& workers_;
  EnclaveCounters& counters_;
  const Clock& clock_;
  http2::GrpcServer& server_;
  const http2::StreamId stream_;
  // Of the message that is being taken.
  wire::v1::RequestFrame incoming_;
  RequestBatch batch_;
  const std::shared_ptr<SessionOutbox> outbox_;
};

}  // namespace bulla
