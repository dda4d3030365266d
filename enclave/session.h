#pragma once

// One stream from a gateway: frames come in and go to the workers, replies go out as the previous
// write ends, so that what gathers meanwhile leaves as one frame. Reactions decode, hand over and
// return; they never sign and never block.

#include <memory>

#include <grpcpp/support/server_callback.h>

#include "base/clock.h"
#include "enclave/workers.h"
#include "wire/enclave.pb.h"

namespace bulla {

class SessionOutbox;

// Owned by gRPC from its making to OnDone, where it deletes itself.
class Session final : public grpc::ServerBidiReactor<wire::v1::RequestFrame, wire::v1::ReplyFrame> {
 public:
  // Counts its frames in `counters`. All outlive it.
  Session(Workers& workers, EnclaveCounters& counters, const Clock& clock);

 private:
  friend class SessionOutbox;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

  Workers& workers_;
  EnclaveCounters& counters_;
  const Clock& clock_;
  // Touched by reads only, one at a time.
  wire::v1::RequestFrame incoming_;
  RequestBatch batch_;
  const std::shared_ptr<SessionOutbox> outbox_;
};

}  // namespace bulla
