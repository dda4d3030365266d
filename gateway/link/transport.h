#pragma once

// The way to an enclave as the link and its streams see it: frames out, frames in, and the events
// of their connection. What carries them is behind these interfaces: gRPC in the program
// (gateway/link/http2_transport), one seed's chance in tests/simulation.

#include <chrono>
#include <functional>
#include <memory>

#include "base/status.h"
#include "wire/address.h"
#include "wire/codec.h"

namespace bulla::wire::v1 {
class ConfigureReply;
class ConfigureRequest;
class ForgetReply;
class ForgetRequest;
class HelloReply;
class HelloRequest;
class KeysInUseReply;
class KeysInUseRequest;
class ProbeReply;
class ProbeRequest;
class SealUnderReply;
class SealUnderRequest;
class UnlockReply;
class UnlockRequest;
}  // namespace bulla::wire::v1

namespace bulla {

// What a frame connection tells whoever it was started for. Called on the transport's threads with
// no lock held; must not block. Replies come one after the other; OnWriteDone may come meanwhile.
class FrameEvents {
 public:
  virtual ~FrameEvents() = default;
  // May be moved from.
  virtual void OnReplies(ReplyBatch& replies) = 0;
  // The frame that was being written has left, or never will when not `ok`.
  virtual void OnWriteDone(bool ok) = 0;
  // The connection is lost, or what came by it was no frame: nothing comes any more.
  virtual void OnBroken() = 0;
  // After Finish(). The last to be told: the connection may be destroyed from here on, within this
  // call too.
  virtual void OnClosed() = 0;
};

// One connection that carries the frames of one session.
class FrameConnection {
 public:
  virtual ~FrameConnection() = default;

  // Once, before anything else.
  virtual void Start(FrameEvents& events) = 0;
  // Sends a frame. Requires: OnWriteDone was told of the one before, and no Finish() yet. `batch`
  // is not looked at after the call.
  virtual void Write(const RequestBatch& batch) = 0;
  // Ends the connection as if it were lost: OnBroken follows. Idempotent, thread-safe.
  virtual void Close() = 0;
  // Nothing will be written any more: OnClosed follows. Requires: OnBroken was told; once.
  virtual void Finish() = 0;
};

// The calls that are no frames (enclave.proto says what each does). Thread-safe.
class ControlConnection {
 public:
  // Called exactly once, on any thread: within the call too when it cannot be made. UNAVAILABLE,
  // DEADLINE_EXCEEDED and CANCELLED: the enclave has not answered. Else it has, with an error too,
  // whose cause is CauseOf's. Must not block.
  template <typename Reply>
  using Done = std::function<void(absl::StatusOr<Reply>)>;
  using Timeout = std::chrono::milliseconds;

  virtual ~ControlConnection() = default;

  virtual void Hello(const wire::v1::HelloRequest&, Timeout, Done<wire::v1::HelloReply>) = 0;
  virtual void Unlock(const wire::v1::UnlockRequest&, Timeout, Done<wire::v1::UnlockReply>) = 0;
  virtual void SealUnder(const wire::v1::SealUnderRequest&, Timeout,
                         Done<wire::v1::SealUnderReply>) = 0;
  virtual void Configure(const wire::v1::ConfigureRequest&, Timeout,
                         Done<wire::v1::ConfigureReply>) = 0;
  virtual void KeysInUse(const wire::v1::KeysInUseRequest&, Timeout,
                         Done<wire::v1::KeysInUseReply>) = 0;
  virtual void Forget(const wire::v1::ForgetRequest&, Timeout, Done<wire::v1::ForgetReply>) = 0;
  virtual void Probe(const wire::v1::ProbeRequest&, Timeout, Done<wire::v1::ProbeReply>) = 0;

  // Ends the calls under way, and each that comes later: CANCELLED, unless answered before.
  virtual void CancelAll() = 0;
};

// Makes connections. Thread-safe. Outlives them.
class EnclaveTransport {
 public:
  virtual ~EnclaveTransport() = default;
  // Each returns within a second or two: UNAVAILABLE when nobody listens there.
  virtual absl::StatusOr<std::shared_ptr<ControlConnection>> DialControlBlocking(
      const Address& address) = 0;
  virtual absl::StatusOr<std::unique_ptr<FrameConnection>> DialFramesBlocking(
      const Address& address) = 0;
};

}  // namespace bulla
