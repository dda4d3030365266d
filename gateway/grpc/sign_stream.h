#pragma once

// SignStream: signatures asked for and answered in one call, many to a message, in any order.
//
// One stream is worth thousands of calls, so what it may hold is bounded: while
// kStreamItemsUnansweredMax items wait for the caller to take their results, no message is taken.
// One message of results is on its way at a time; what is finished meanwhile gathers and leaves as
// one when it has left.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "bulla/v1/signer.pb.h"
#include "gateway/grpc/connection.h"
#include "gateway/grpc/worker.h"
#include "http2/grpc_server.h"
#include "wire/errors.h"

namespace bulla {

// One SignStream. It ends when no more is to be read and everything that was read is answered; the
// call may end before (cancelled, late, lost), and then it stays for what is with the service.
// Confined to its connection's thread.
class GrpcSignStream final : public std::enable_shared_from_this<GrpcSignStream>,
                             public GrpcSigner,
                             public GrpcStandingCall {
 public:
  // Begins the call. Null when it was refused.
  static std::unique_ptr<http2::GrpcHandler> Begin(http2::GrpcServer& server,
                                                   const http2::GrpcRequest& request);

  GrpcSignStream(GrpcConnection& connection, const http2::GrpcRequest& request);

  // What is finished leaves.
  void Flush() { Step(); }

  // GrpcSigner
  void OnCallDone(GrpcSignCall& call) override;
  // GrpcStandingCall: reads no more, answers what was read, and ends with UNAVAILABLE.
  void OnDrain() override;

 private:
  class Handler;

  void OnMessage(ByteSpan bytes);
  void OnHalfClose();
  void OnWritten();
  bool WantsMessage() const;
  // The call is no more.
  void OnGone();

  void EndReading(Error error);
  void Step();
  void TakeItem(const v1::SignStreamItem& item, MonotonicTime now, MonotonicTime deadline);
  void AddResult(const GrpcSignCall& call);
  void AddError(std::uint64_t ref, const Error& error);

  GrpcWorker& worker_;
  GrpcConnection& connection_;  // while the call is there, or something is with the service
  const GrpcCallHead head_;
  v1::SignStreamRequest request_;
  v1::SignStreamResponse gathered_;  // results for the next message
  std::deque<GrpcSignCall> calls_;   // all there are; they never move
  std::vector<GrpcSignCall*> free_calls_;
  std::size_t unanswered_ = 0;            // items read, results not yet taken
  std::size_t writing_ = 0;               // results of the message that is on its way
  std::size_t with_service_ = 0;          // calls that will come back
  std::shared_ptr<GrpcSignStream> self_;  // while there are any
  bool flush_due_ = false;
  bool reading_over_ = false;
  bool gone_ = false;  // nobody will take what is finished
  Error error_;        // what the stream ends with
};

}  // namespace bulla
