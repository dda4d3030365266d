#pragma once

// The signing threads: one for each vCPU, pinned, fed by one bounded queue that shares frames out
// among them (enclave/work_queue.h). A full queue refuses at once.
//
// Keys that have to be opened are opened by the worker that met them, after the signatures that
// need no opening have left. What waits for such a key waits in the cache, not in a worker, and
// goes through the queue again when it is there.

#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "enclave/key_operations.h"
#include "enclave/sign_task.h"
#include "enclave/work_queue.h"
#include "wire/codec.h"

namespace bulla {

// Thread-safe.
class Workers {
 public:
  struct Options {
    std::size_t threads = 1;
    // Frames waiting beyond those at work. Of at most 32 signatures each: at 30 us a signature the
    // last one in line waits some 30 ms on two CPUs, and longer than that is no use to a caller.
    std::size_t queue_max = 64;
  };

  Workers(Options options, KeyOperations& operations);
  ~Workers();  // answers what was accepted, then joins

  // Accepts every item of `batch` or answers it with kBusy: each gets one reply through `sink`.
  // Loads are done before this returns. What is in `batch` then is to be overwritten.
  void Submit(RequestBatch& batch, MonotonicTime received, const std::shared_ptr<ReplySink>& sink);

  std::size_t queue_depth() const { return queue_.size(); }

 private:
  void Run(std::size_t index);
  // `replies` is the worker's own, empty before and after.
  void MakeKey(const WorkQueue::Create& create, ReplyBatch& replies);
  void RunShare(const WorkQueue::Share& share, ReplyBatch& replies, std::vector<Opening>& openings);
  void Resume(std::span<const SignTask> tasks, std::vector<Opening>& openings);
  // Opens one key and sees to those who waited for it.
  void Open(const Opening& opening, std::vector<Opening>& openings);

  KeyOperations& operations_;
  WorkQueue queue_;
  std::vector<std::thread> threads_;
};

}  // namespace bulla
