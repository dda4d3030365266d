#pragma once

// A signature that was asked for, apart from the frame that it came in: so that it can wait for its
// key without anybody waiting with it.

#include <memory>
#include <utility>

#include "base/clock.h"
#include "wire/codec.h"

namespace bulla {

// Where the answers to a batch go.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  // Takes what is in `replies`, and leaves it to be overwritten. Thread-safe; must not block.
  virtual void Send(ReplyBatch& replies) = 0;
};

struct SignTask {
  SignItem item;
  MonotonicTime expires;     // its caller has given up by then
  MonotonicTime wait_until;  // for its key, no longer than this
  std::shared_ptr<ReplySink> sink;

  // Sends the one answer.
  void Answer(const SignReply& reply) const {
    ReplyBatch replies;
    replies.signs.push_back(reply);
    sink->Send(replies);
  }
};

}  // namespace bulla
