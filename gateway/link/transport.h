#pragma once

// The way to an enclave as the link and its streams see it: frames out, frames in, and the events
// of their connection. What carries them is behind these interfaces: gRPC in the program
// (gateway/link/grpc_transport), one seed's chance in tests/simulation.

#include "wire/codec.h"

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

}  // namespace bulla
