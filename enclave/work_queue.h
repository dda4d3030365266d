#pragma once

// Frames that wait for workers, and how they are shared out. A worker takes a share of the oldest
// frame, in proportion to what is left of it and how many workers there are: so all of them work on
// one frame when they have the time, and nothing in it waits behind one of them. Who finishes the
// last share sends the answers of all: a frame in, a frame out.
//
// Keys that are to be made stand behind signatures, whoever came first: making one takes as long as
// several signatures, and a burst of them would put off what is promised within milliseconds.
//
// Frames are used again, so that in the steady state none is allocated.

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "enclave/sign_task.h"
#include "wire/codec.h"

namespace bulla {

// Thread-safe.
class WorkQueue {
 public:
  class Frame {
   public:
    const std::vector<SignItem>& signs() const { return signs_; }
    MonotonicTime received() const { return received_; }
    const std::shared_ptr<ReplySink>& sink() const { return sink_; }

   private:
    friend class WorkQueue;
    std::vector<SignItem> signs_;
    MonotonicTime received_;
    std::shared_ptr<ReplySink> sink_;
    std::size_t claimed_ = 0;  // under the queue's mutex

    Mutex mutex_;
    std::size_t shares_out_ BULLA_GUARDED_BY(mutex_) = 0;
    bool all_claimed_ BULLA_GUARDED_BY(mutex_) = false;
    ReplyBatch replies_ BULLA_GUARDED_BY(mutex_);
  };

  // For one worker: the signatures [begin, end) of the frame.
  struct Share {
    Frame* frame = nullptr;
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  // Signatures whose key is there now.
  using Resumption = std::vector<SignTask>;
  // A key to make; each is answered on its own.
  struct Create {
    CreateItem item;
    std::shared_ptr<ReplySink> sink;
  };
  using Work = std::variant<Share, Resumption, Create>;

  // With so many shares taken since the last key was made, the next that waits has its turn:
  // however much there is to sign, some keys are made.
  static constexpr std::size_t kSharesBeforeCreate = 16;

  // At most `max` frames and resumptions wait, and as many keys to make.
  WorkQueue(std::size_t max, std::size_t workers);

  // False when it is full or closed, and nothing is taken. True: what was in `signs` is taken, and
  // what is in it now is to be overwritten. Requires: it is not empty.
  bool TryPush(std::vector<SignItem>& signs, MonotonicTime received,
               const std::shared_ptr<ReplySink>& sink) BULLA_EXCLUDES(mutex_);
  bool TryPush(Resumption& tasks) BULLA_EXCLUDES(mutex_);
  bool TryPush(const Create& create) BULLA_EXCLUDES(mutex_);

  // Blocks; nothing once the queue is closed and empty.
  std::optional<Work> Pop() BULLA_EXCLUDES(mutex_);

  // A share is done, and this is what there is to answer for it. `replies` is left empty, with its
  // memory.
  void Finish(const Share& share, ReplyBatch& replies) BULLA_EXCLUDES(mutex_);

  // What is queued can still be popped; nothing more can be pushed.
  void Close() BULLA_EXCLUDES(mutex_);

  // What no worker has yet, or not all of: frames, resumptions and keys to make.
  std::size_t size() const BULLA_EXCLUDES(mutex_);

 private:
  using Entry = std::variant<Frame*, Resumption>;

  Entry& PushEntry() BULLA_REQUIRES(mutex_);
  bool IsCreatesTurn() const BULLA_REQUIRES(mutex_) {
    return !creates_.empty() && (size_ == 0 || shares_since_create_ >= kSharesBeforeCreate);
  }
  Share Claim(Frame& frame) BULLA_REQUIRES(mutex_);

  const std::size_t workers_;
  mutable Mutex mutex_;
  CondVar not_empty_;
  std::vector<Entry> ring_ BULLA_GUARDED_BY(mutex_);
  std::size_t first_ BULLA_GUARDED_BY(mutex_) = 0;
  std::size_t size_ BULLA_GUARDED_BY(mutex_) = 0;
  std::deque<Create> creates_ BULLA_GUARDED_BY(mutex_);
  std::size_t shares_since_create_ BULLA_GUARDED_BY(mutex_) = 0;
  std::size_t idle_ BULLA_GUARDED_BY(mutex_) = 0;  // workers that wait
  bool closed_ BULLA_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<Frame>> frames_ BULLA_GUARDED_BY(mutex_);
  std::vector<Frame*> free_ BULLA_GUARDED_BY(mutex_);
};

}  // namespace bulla
