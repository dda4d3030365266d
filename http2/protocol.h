#pragma once

// Who speaks on a session: gRPC's two ends. Free of I/O as the session is; http2/connection carries
// both.

#include <functional>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/status.h"
#include "http2/session.h"

namespace bulla::http2 {

// Confined to its session's thread.
class Protocol : public SessionEvents {
 public:
  // Has a function called on the session's thread, soon, from any thread; not when the connection
  // is over by then.
  using Post = std::function<void(std::function<void()>)>;

  // Once, before anything else. The session outlives it, or OnOver() is told.
  void Attach(Session& session, Post post) {
    session_ = &session;
    post_ = std::move(post);
  }

  // Does what is due; returns when there will be something again.
  virtual MonotonicTime Tick(MonotonicTime now) = 0;
  // The last that is told: the connection is gone, and OnClosed() will not come for what was open.
  virtual void OnOver(const absl::Status& reason) = 0;

 protected:
  Session& session() {
    BULLA_CHECK(session_ != nullptr, "a protocol is attached to a session before it is used");
    return *session_;
  }
  const Post& post() const { return post_; }

 private:
  Session* session_ = nullptr;
  Post post_;
};

}  // namespace bulla::http2
