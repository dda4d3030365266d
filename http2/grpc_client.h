#pragma once

// gRPC's client: calls on one connection. Any kind of call is messages out and messages in, then a
// status; one that is unary has a shorter way. Deadlines are kept here and travel with the call.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <absl/container/flat_hash_map.h>

#include "base/bytes.h"
#include "http2/grpc_fields.h"
#include "http2/grpc_message.h"
#include "http2/protocol.h"

namespace bulla::http2 {

// What a call tells whoever made it, who outlives it.
class GrpcCallEvents {
 public:
  virtual ~GrpcCallEvents() = default;
  // It lasts for the call of this function.
  virtual void OnMessage(ByteSpan message) = 0;
  // What was written has left.
  virtual void OnWritten() = 0;
  // The last; always told, once.
  virtual void OnDone(const GrpcStatus& status) = 0;
};

// Confined to its session's thread.
class GrpcClient final : public Protocol {
 public:
  struct Options {
    std::string authority;
    // Of an answer: gRPC's own default.
    std::size_t message_bytes_max = 4 * 1024 * 1024;
  };
  explicit GrpcClient(Options options) : options_(std::move(options)) {}

  using Timeout = std::optional<std::chrono::nanoseconds>;
  // Begins a call. Its id, or nothing when none can be made: then OnDone() was told.
  std::optional<StreamId> Start(std::string_view path, Timeout timeout, MonotonicTime now,
                                GrpcCallEvents& events);
  // A call that has ended is left alone.
  void Write(StreamId call, ByteSpan message);
  void EndWrites(StreamId call);
  // OnDone(CANCELLED) is told within this.
  void Cancel(StreamId call);

  // `reply` is empty unless the status is OK; it lasts for the call of the function.
  using UnaryDone = std::function<void(const GrpcStatus& status, ByteSpan reply)>;
  // `done` is called exactly once, within this when no call can be made.
  void Unary(std::string_view path, ByteSpan request, Timeout timeout, MonotonicTime now,
             UnaryDone done);
  // Every call there is.
  void CancelAll();

  // Protocol
  MonotonicTime Tick(MonotonicTime now) override;
  void OnOver(const absl::Status& reason) override;
  void OnHeaders(StreamId stream, const HeaderBlock& headers) override;
  void OnData(StreamId stream, ByteSpan bytes) override;
  void OnTrailers(StreamId stream, const HeaderBlock& trailers) override;
  void OnEnd(StreamId stream) override;
  void OnWritten(StreamId stream) override;
  void OnClosed(StreamId stream, ErrorCode code) override;
  void OnGoAway() override {}

 private:
  struct Call {
    Call(GrpcCallEvents& call_events, std::size_t message_bytes_max)
        : events(&call_events), reader(message_bytes_max) {}
    GrpcCallEvents* events;
    std::unique_ptr<GrpcCallEvents> own_events;  // where nobody else has them
    MonotonicTime deadline = MonotonicTime::max();
    GrpcMessageReader reader;
    bool answered = false;  // headers have come
    bool writes_ended = false;
  };
  class UnaryCall;

  // The call, for as long as it is held; null when it has ended.
  std::shared_ptr<Call> Find(StreamId stream) const;
  // Ends it, for the peer too unless the peer has ended it.
  enum class EndedBy { kUs, kPeer };
  void Finish(StreamId stream, EndedBy who, const GrpcStatus& status);

  const Options options_;
  absl::flat_hash_map<StreamId, std::shared_ptr<Call>> calls_;
  std::size_t deadlines_ = 0;  // calls that have one
  std::string message_;        // that is being written
};

}  // namespace bulla::http2
