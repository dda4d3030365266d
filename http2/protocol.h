#pragma once

// Who speaks on a session: gRPC's two ends. Free of I/O as the session is; http2/connection carries
// both.

#include "base/check.h"
#include "base/clock.h"
#include "base/status.h"
#include "http2/session.h"

namespace bulla::http2 {

// Confined to its session's thread.
class Protocol : public SessionEvents {
 public:
  // Once, before anything else. The session outlives it, or OnOver() is told.
  void Attach(Session& session) { session_ = &session; }

  // Does what is due; returns when there will be something again.
  virtual MonotonicTime Tick(MonotonicTime now) = 0;
  // The last that is told: the connection is gone, and OnClosed() will not come for what was open.
  virtual void OnOver(const absl::Status& reason) = 0;

 protected:
  Session& session() {
    BULLA_CHECK(session_ != nullptr, "a protocol is attached to a session before it is used");
    return *session_;
  }

 private:
  Session* session_ = nullptr;
};

}  // namespace bulla::http2
