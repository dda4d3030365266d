#pragma once

// The signing threads: one for each vCPU, pinned, fed by one bounded queue. A stream hands a frame
// over whole; it is split over the workers that are idle at that moment, so that a frame of 32 does
// not wait behind one of them. A full queue refuses at once.
//
// Keys that have to be opened are opened by the worker that met them, after the signatures that
// need no opening have left. What waits for such a key waits in the cache, not in a worker, and
// goes through the queue again when it is there.

#include <memory>
#include <thread>
#include <variant>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "enclave/key_operations.h"
#include "enclave/sign_task.h"
#include "wire/codec.h"

namespace bulla {

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
  // A frame, or a share of one.
  struct FrameJob {
    RequestBatch batch;
    MonotonicTime received;
    std::shared_ptr<ReplySink> sink;
  };
  // Signatures whose key is there now.
  using ResumeJob = std::vector<SignTask>;
  using Job = std::variant<FrameJob, ResumeJob>;

  void Enqueue(Job job);
  void Refuse(const Job& job);
  void Run(std::size_t index);
  void RunFrame(const FrameJob& job, std::vector<Opening>& openings);
  void Resume(std::span<const SignTask> tasks, std::vector<Opening>& openings);
  // Opens one key and sees to those who waited for it.
  void Open(const Opening& opening, std::vector<Opening>& openings);

  KeyOperations& operations_;
  BoundedQueue<Job> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace bulla
