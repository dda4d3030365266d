#pragma once

// One HTTP/2 connection as a state machine, client or server: bytes in, events out; calls in, bytes
// out. It has no descriptor, no thread and no clock, so that it runs the same on an I/O thread
// (http2/connection), in a test and in a simulation. nghttp2 does the framing, HPACK and windows;
// what it leaves unbounded is bounded here (http2/limits.h). No other file knows nghttp2.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/status.h"
#include "http2/header_block.h"

namespace bulla::http2 {

using StreamId = std::int32_t;  // above 0

// RFC 9113, section 7.
enum class ErrorCode : std::uint32_t {
  kNoError = 0,
  kProtocolError = 1,
  kInternalError = 2,
  kFlowControlError = 3,
  kStreamClosed = 5,
  kRefusedStream = 7,
  kCancel = 8,
  kEnhanceYourCalm = 11,
  kInadequateSecurity = 12,
};

// What a session tells, within Feed(), Gather() and Tick(). May open, answer, end and reset
// streams and consume, but not feed, gather, tick or destroy the session.
class SessionEvents {
 public:
  virtual ~SessionEvents() = default;
  // A request, or the answer to one (those of status 1xx are left out). `headers` lasts for the
  // call.
  virtual void OnHeaders(StreamId stream, const HeaderBlock& headers) = 0;
  // Data that has to be consumed, now or later. It lasts for the call.
  virtual void OnData(StreamId stream, ByteSpan bytes) = 0;
  virtual void OnTrailers(StreamId stream, const HeaderBlock& trailers) = 0;
  // The peer will send nothing more on the stream.
  virtual void OnEnd(StreamId stream) = 0;
  // All that was given to Send() has left.
  virtual void OnWritten(StreamId stream) = 0;
  // The last that is told of a stream that was opened, whoever ended it.
  virtual void OnClosed(StreamId stream, ErrorCode code) = 0;
  // The peer wants no new streams on this connection. Those that there are go on.
  virtual void OnGoAway() = 0;
};

// Confined to one thread.
class Session {
 public:
  enum class Role { kClient, kServer };

  struct Options {
    Role role = Role::kClient;
    // Streams at a time; one more of a peer's is refused, one more of ours is not opened.
    std::uint32_t streams_max = 100;
    // What a peer may have sent on a stream, and on all, that is not consumed.
    std::size_t stream_window_bytes = 64 * 1024;
    std::size_t connection_window_bytes = 1024 * 1024;
    // Unconsumed and unsent bytes of all streams: the stream that goes over it is reset.
    std::size_t memory_bytes_max = 4 * 1024 * 1024;
    // Until the peer's SETTINGS are there.
    std::chrono::milliseconds handshake_timeout{5000};
    // A server's connection without a stream. 0: for ever.
    std::chrono::milliseconds idle_timeout{0};
    // Nothing has come for `interval`: a PING; nothing for `timeout` after it: the connection is
    // lost. 0: no PINGs.
    std::chrono::milliseconds keepalive_interval{0};
    std::chrono::milliseconds keepalive_timeout{2000};
  };

  // `events` outlives it. `on_output`, which may be empty, is called when there may be something to
  // be gathered that was not there before; not within Feed(), Gather() and Tick().
  Session(const Options& options, SessionEvents& events, std::function<void()> on_output,
          MonotonicTime now);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // ---- For whoever has the connection's bytes and the time.

  // What has arrived.
  void Feed(ByteSpan bytes, MonotonicTime now);
  // Appends what is to be sent, up to about `bytes_max`.
  void Gather(std::string& out, std::size_t bytes_max, MonotonicTime now);
  // Does what is due, and says when there will be something again.
  MonotonicTime Tick(MonotonicTime now);
  // There is something to be gathered.
  bool wants_output() const;
  // Nothing is to be read or to be gathered any more, and why: OK after a Drain().
  bool over() const;
  const absl::Status& reason() const;

  // ---- For whoever speaks on it. A stream that is gone is left alone.

  // A client's request; it is complete with `end`. UNAVAILABLE when the peer takes no more on this
  // connection, RESOURCE_EXHAUSTED when there are streams_max.
  absl::StatusOr<StreamId> Open(std::span<const Header> headers, bool end);
  // A server's answer, complete with `end`. Once for each stream.
  void Respond(StreamId stream, std::span<const Header> headers, bool end);
  // Behind what was sent before. OnWritten() tells when all has left. A stream that has too much
  // waiting is reset. Requires, of a server: Respond().
  void Send(StreamId stream, ByteSpan bytes);
  // Nothing more will be sent; behind the data, trailers if there are any.
  void End(StreamId stream, std::span<const Header> trailers = {});
  void Reset(StreamId stream, ErrorCode code);
  // So many bytes of OnData() are done with: the peer may send as many again.
  void Consume(StreamId stream, std::size_t bytes);
  // As a server: takes no new streams, finishes those that there are, then is over(). Idempotent.
  void Drain();
  // Is over() as soon as the peer has been told why.
  void Terminate(ErrorCode code, absl::Status reason);

  MonotonicTime now() const;  // as it was told last
  std::size_t streams() const;
  std::size_t unsent_bytes(StreamId stream) const;
  // Unconsumed and unsent bytes of all streams.
  std::size_t memory_bytes() const;
  bool accepts_streams() const;  // a client's peer

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace bulla::http2
