#pragma once

// One of the streams to an enclave. Requests gather in an outbox and leave as one frame when the
// previous write has ended: under load frames fill by themselves, and an idle stream sends at once.
// Each request in flight has a slot; a reply finds its request by slot and generation, so that an
// answer to one that was given up meanwhile is dropped. What becomes of them its pool is told.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/hot.h"
#include "base/mutex.h"
#include "gateway/call/call_list.h"
#include "gateway/call/signer_service.h"
#include "gateway/link/transport.h"
#include "wire/codec.h"

namespace bulla {

class StreamPool;

// Thread-safe. Made by Open(); lives until the stream is closed and nobody holds it.
class EnclaveStream final : private FrameEvents {
 public:
  // `status` is other than OK when the reply is not a key: the rest of it is then empty.
  using CreateDone = std::function<void(ErrorCode, CreateReply)>;

  // Requests in flight on one stream. 16 streams of 256 hold 4096, more than the workers of an
  // enclave can answer inside a deadline.
  static constexpr std::size_t kSlotsMax = 256;

  // Starts `connection`, which the stream owns from then on. At most `frame_signs_max` signatures
  // travel in a frame.
  static std::shared_ptr<EnclaveStream> Open(std::unique_ptr<FrameConnection> connection,
                                             StreamPool& pool, const Clock& clock,
                                             const Hot<std::size_t>& frame_signs_max);

  // Takes calls from the list while there are slots; returns the rest, null when it took them all.
  SignCall* Sign(SignCall* first) BULLA_EXCLUDES(mutex_);
  // The calls are all of one key, whose blob is sent ahead of them. Returns those that found no
  // slot; all of them, with nothing sent, when the stream is closed or full.
  SignCall* SignWithBlob(SignCall* first, const Bytes& blob) BULLA_EXCLUDES(mutex_);
  // Sends a key's blob for which nothing waits. False when closed or full.
  bool Load(const Bytes& blob) BULLA_EXCLUDES(mutex_);
  // False, with `done` not called, when closed or full.
  bool Create(const KeyId& key_id, MonotonicTime deadline, CreateDone& done) BULLA_EXCLUDES(mutex_);

  // Gives up what is past its deadline: kUnavailable.
  void Expire(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  // Gives back, through the pool's OnLost, at most `count_max` signatures that are on their way
  // since before `since`. Returns how many.
  std::size_t TakeBack(MonotonicTime since, std::size_t count_max) BULLA_EXCLUDES(mutex_);
  // Ends the stream as if it were lost. Idempotent.
  void Close();

  std::size_t in_flight() const BULLA_EXCLUDES(mutex_);
  bool closed() const BULLA_EXCLUDES(mutex_);

 private:
  struct Slot {
    std::uint32_t generation = 0;
    bool in_use = false;
    MonotonicTime deadline;
    SignCall* sign = nullptr;  // either this
    CreateDone create;         // or this
  };
  struct QueuedSign {
    SignItem item;
    MonotonicTime deadline;
  };

  EnclaveStream(std::unique_ptr<FrameConnection> connection, StreamPool& pool, const Clock& clock,
                const Hot<std::size_t>& frame_signs_max);

  void OnReplies(ReplyBatch& replies) override;
  void OnWriteDone(bool ok) override;
  void OnBroken() override { LoseAllInFlight(); }
  void OnClosed() override;

  bool HasRoom() const BULLA_REQUIRES(mutex_) { return !closed_ && !free_slots_.empty(); }
  std::uint32_t TakeSlot(MonotonicTime deadline, SignCall* sign, CreateDone create)
      BULLA_REQUIRES(mutex_);
  // Frees the slot of `sequence` and returns what was in it; not in use when it was given up
  // before.
  Slot ReleaseSlot(std::uint32_t sequence) BULLA_REQUIRES(mutex_);
  void QueueSign(SignCall* call) BULLA_REQUIRES(mutex_);
  // Moves the next frame's worth from the outbox to sending_, for the caller to write; false when
  // there is nothing to send or a write is under way.
  bool BeginWrite() BULLA_REQUIRES(mutex_);
  // What left its slots unanswered.
  struct Released {
    CallList signs;
    std::size_t sign_count = 0;
    std::vector<CreateDone> creates;
  };
  // What is in flight and of which `is_due` is true leaves its slots.
  template <typename IsDue>
  Released ReleaseIf(IsDue is_due) BULLA_REQUIRES(mutex_);
  // Marks the stream closed and gives back what is in flight.
  void LoseAllInFlight() BULLA_EXCLUDES(mutex_);
  // Lets the connection end once no write can start any more.
  void FinishOnce() BULLA_EXCLUDES(mutex_);
  void HandleSignReplies(const std::vector<SignReply>& replies);
  void HandleCreateReplies(std::vector<CreateReply>& replies);

  const std::unique_ptr<FrameConnection> connection_;
  StreamPool& pool_;
  const Clock& clock_;
  const Hot<std::size_t>& frame_signs_max_;
  std::shared_ptr<EnclaveStream> self_;  // from Open to OnClosed: the connection calls back

  mutable Mutex mutex_;
  std::vector<Slot> slots_ BULLA_GUARDED_BY(mutex_);
  std::vector<std::uint32_t> free_slots_ BULLA_GUARDED_BY(mutex_);
  std::vector<Bytes> queued_loads_ BULLA_GUARDED_BY(mutex_);
  std::vector<QueuedSign> queued_signs_ BULLA_GUARDED_BY(mutex_);
  std::vector<CreateItem> queued_creates_ BULLA_GUARDED_BY(mutex_);
  bool writing_ BULLA_GUARDED_BY(mutex_) = false;
  bool closed_ BULLA_GUARDED_BY(mutex_) = false;
  bool finished_ BULLA_GUARDED_BY(mutex_) = false;

  RequestBatch sending_;  // owned by whoever set writing_
};

}  // namespace bulla
