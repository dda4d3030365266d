#pragma once

// What both ways over gRPC share: channels with sockets of their own, and waiting for completions.

#include <grpcpp/channel.h>
#include <grpcpp/completion_queue.h>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/values.h"
#include "bench/transport/tcp.h"
#include "bulla/v1/signer.pb.h"

namespace bulla {

// Blocks until it is connected. UNAVAILABLE when that takes more than five seconds.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannelBlocking(const Target& target);

// Nothing when it is none.
std::optional<RecoverableSignature> SignatureOf(const v1::SignResponse& response);

// What an operation of a completion queue came to.
struct Completion {
  void* tag = nullptr;
  bool ok = false;
};

// Waits for the completions of a queue. Confined to one thread, but for what it starts itself.
//
// gRPC's own wait is rounded up to milliseconds, which is late for requests that are due in
// between. Where that matters (`precise`), a thread takes the completions off the queue and hands
// them over; where it does not, there is none, and no hand-over.
class Completions {
 public:
  explicit Completions(bool precise);
  // Requires: no operation is under way.
  ~Completions();
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  grpc::CompletionQueue& queue() { return queue_; }

  // Those that are there, but not all of a flood, else those that come until `until`. They are
  // valid until the next call.
  const std::vector<Completion>& TakeBlocking(MonotonicTime until, const Clock& clock);

 private:
  void TakeFromQueue(Duration patience);
  void TakeHandedOver(Duration patience);
  void HandOver();  // the thread

  grpc::CompletionQueue queue_;
  std::vector<Completion> taken_;
  Mutex mutex_;
  CondVar there_;
  std::vector<Completion> handed_over_ BULLA_GUARDED_BY(mutex_);
  bool waiting_ BULLA_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // when precise
};

}  // namespace bulla
