#pragma once

// The signing threads: one for each vCPU, pinned, fed by one bounded queue. A stream hands a frame
// over whole; it is split over the workers that are idle at that moment, so that a frame of 32 does
// not wait behind one of them. A full queue refuses at once.

#include <memory>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "enclave/key_operations.h"
#include "wire/codec.h"

namespace bulla {

// Where the answers to a batch go.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  // Thread-safe; must not block.
  virtual void Send(ReplyBatch replies) = 0;
};

// Thread-safe.
class Workers {
 public:
  struct Options {
    std::size_t threads = 1;
    // Jobs waiting beyond the running ones. A job is at most one frame, so at 30 us a signature the
    // last one in line waits some 30 ms on two CPUs: longer than that is no use to a caller.
    std::size_t queue_max = 64;
  };

  Workers(Options options, KeyOperations& operations);
  ~Workers();  // answers what was accepted, then joins

  // Accepts every item of `batch` or answers it with kBusy: each gets one reply through `sink`.
  // Loads are done before this returns.
  void Submit(RequestBatch batch, MonotonicTime received, std::shared_ptr<ReplySink> sink);

  std::size_t queue_depth() const { return queue_.size(); }

 private:
  struct Job {
    RequestBatch batch;
    MonotonicTime received;
    std::shared_ptr<ReplySink> sink;
  };

  void Enqueue(Job job);
  void Run(std::size_t index);

  KeyOperations& operations_;
  BoundedQueue<Job> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace bulla
