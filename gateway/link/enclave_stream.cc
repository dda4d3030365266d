#include "gateway/link/enclave_stream.h"

#include <algorithm>
#include <utility>

#include "gateway/call/call_list.h"
#include "gateway/link/stream_pool.h"

namespace bulla {
namespace {

// A sequence number is the slot's index in the low bits and its generation above.
constexpr std::uint32_t kSlotBits = 8;
static_assert(EnclaveStream::kSlotsMax == 1u << kSlotBits);
constexpr std::uint32_t kSlotMask = (1u << kSlotBits) - 1;
constexpr std::uint32_t kGenerationMask = 0xffffffffu >> kSlotBits;

// What the caller learns. Those that the router handles first are not in it.
ErrorCode ErrorOf(ItemStatus status) {
  switch (status) {
    case ItemStatus::kOk:
      return ErrorCode::kOk;
    case ItemStatus::kBusy:
      return ErrorCode::kRetryLater;
    case ItemStatus::kExpired:
    case ItemStatus::kNoSealingDek:
      return ErrorCode::kUnavailable;
    case ItemStatus::kRehydrateTimeout:
    case ItemStatus::kNeedBlob:
    case ItemStatus::kNeedDek:
    case ItemStatus::kRefused:
    case ItemStatus::kFault:
      break;
  }
  return ErrorCode::kInternal;
}

std::uint32_t BudgetUs(MonotonicTime deadline, MonotonicTime now) {
  auto left = std::chrono::duration_cast<std::chrono::microseconds>(deadline - now).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 0, 0xffffffff));
}

template <typename T>
void DropFront(std::vector<T>& from, std::size_t count) {
  from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace

std::shared_ptr<EnclaveStream> EnclaveStream::Open(std::unique_ptr<FrameConnection> connection,
                                                   StreamPool& pool, const Clock& clock,
                                                   const Hot<std::size_t>& frame_signs_max) {
  std::shared_ptr<EnclaveStream> stream(
      new EnclaveStream(std::move(connection), pool, clock, frame_signs_max));
  stream->self_ = stream;
  stream->connection_->Start(*stream);
  return stream;
}

EnclaveStream::EnclaveStream(std::unique_ptr<FrameConnection> connection, StreamPool& pool,
                             const Clock& clock, const Hot<std::size_t>& frame_signs_max)
    : connection_(std::move(connection)),
      pool_(pool),
      clock_(clock),
      frame_signs_max_(frame_signs_max),
      slots_(kSlotsMax) {
  for (std::uint32_t i = 0; i < kSlotsMax; ++i) free_slots_.push_back(kSlotsMax - 1 - i);
}

SignCall* EnclaveStream::Sign(SignCall* first) {
  {
    MutexLock lock(mutex_);
    while (first != nullptr && HasRoom()) QueueSign(PopFirst(first));
    if (!BeginWrite()) return first;
  }
  connection_->Write(sending_);
  return first;
}

SignCall* EnclaveStream::SignWithBlob(SignCall* first, const Bytes& blob) {
  {
    MutexLock lock(mutex_);
    // Blobs leave with the next frame, so never behind the calls that they precede.
    if (!HasRoom() || queued_loads_.size() >= kFrameLoadsMax) return first;
    queued_loads_.push_back(blob);
    while (first != nullptr && HasRoom()) QueueSign(PopFirst(first));
    if (!BeginWrite()) return first;
  }
  connection_->Write(sending_);
  return first;
}

bool EnclaveStream::Load(const Bytes& blob) {
  {
    MutexLock lock(mutex_);
    if (closed_ || queued_loads_.size() >= kFrameLoadsMax) return false;
    queued_loads_.push_back(blob);
    if (!BeginWrite()) return true;
  }
  connection_->Write(sending_);
  return true;
}

bool EnclaveStream::Create(const KeyId& key_id, MonotonicTime deadline, CreateDone& done) {
  {
    MutexLock lock(mutex_);
    if (!HasRoom()) return false;
    queued_creates_.push_back({TakeSlot(deadline, nullptr, std::move(done)), key_id});
    if (!BeginWrite()) return true;
  }
  connection_->Write(sending_);
  return true;
}

void EnclaveStream::QueueSign(SignCall* call) {
  SignItem item{.sequence = TakeSlot(call->deadline, call, nullptr),
                .key_id = call->key_id,
                .digest = call->digest};
  queued_signs_.push_back({item, call->deadline});
}

std::uint32_t EnclaveStream::TakeSlot(MonotonicTime deadline, SignCall* sign, CreateDone create) {
  std::uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[index];
  slot.in_use = true;
  slot.deadline = deadline;
  slot.sign = sign;
  slot.create = std::move(create);
  return slot.generation << kSlotBits | index;
}

EnclaveStream::Slot EnclaveStream::ReleaseSlot(std::uint32_t sequence) {
  std::uint32_t index = sequence & kSlotMask;
  Slot& slot = slots_[index];
  if (!slot.in_use || slot.generation != sequence >> kSlotBits) return {};
  Slot released = std::exchange(slot, Slot{.generation = (slot.generation + 1) & kGenerationMask});
  free_slots_.push_back(index);
  return released;
}

bool EnclaveStream::BeginWrite() {
  if (writing_ || closed_) return false;
  if (queued_loads_.empty() && queued_signs_.empty() && queued_creates_.empty()) return false;
  sending_.clear();
  sending_.loads = std::exchange(queued_loads_, {});

  MonotonicTime now = clock_.Now();
  std::size_t signs = std::min(queued_signs_.size(), frame_signs_max_.Get());
  for (std::size_t i = 0; i < signs; ++i) {
    sending_.signs.push_back(queued_signs_[i].item);
    sending_.signs.back().budget_us = BudgetUs(queued_signs_[i].deadline, now);
  }
  DropFront(queued_signs_, signs);

  std::size_t creates = std::min(queued_creates_.size(), kFrameCreatesMax);
  sending_.creates.assign(queued_creates_.begin(),
                          queued_creates_.begin() + static_cast<std::ptrdiff_t>(creates));
  DropFront(queued_creates_, creates);
  writing_ = true;
  return true;
}

void EnclaveStream::OnWriteDone(bool ok) {
  bool more = false;
  {
    MutexLock lock(mutex_);
    writing_ = false;
    more = ok && BeginWrite();
  }
  if (more) {
    connection_->Write(sending_);
  } else {
    FinishOnce();
  }
}

void EnclaveStream::OnReplies(ReplyBatch& replies) {
  HandleSignReplies(replies.signs);
  HandleCreateReplies(replies.creates);
}

void EnclaveStream::HandleSignReplies(const std::vector<SignReply>& replies) {
  CallList done;
  CallList need_blob;
  CallList need_dek;
  CallList rehydrate_timeout;
  std::size_t answered = 0;
  MonotonicTime oldest = MonotonicTime::max();
  {
    MutexLock lock(mutex_);
    for (const SignReply& reply : replies) {
      SignCall* call = ReleaseSlot(reply.sequence).sign;
      if (call == nullptr) continue;
      ++answered;
      if (reply.status != ItemStatus::kBusy) oldest = std::min(oldest, call->gathered_at);
      if (reply.status == ItemStatus::kNeedBlob) {
        need_blob.Append(call);
      } else if (reply.status == ItemStatus::kNeedDek) {
        need_dek.Append(call);
      } else if (reply.status == ItemStatus::kRehydrateTimeout) {
        rehydrate_timeout.Append(call);
      } else {
        call->error = ErrorOf(reply.status);
        call->signature = reply.signature;
        done.Append(call);
      }
    }
  }
  if (!done.empty()) CompleteAll(done.first());
  // Before what follows sends them again: a signature counts as under way once.
  if (answered > 0) pool_.OnAnswered(answered, oldest);
  if (!need_blob.empty()) pool_.OnNeedBlob(need_blob.first());
  if (!need_dek.empty()) pool_.OnNeedDek(need_dek.first());
  if (!rehydrate_timeout.empty()) pool_.OnRehydrateTimeout(rehydrate_timeout.first());
}

void EnclaveStream::HandleCreateReplies(std::vector<CreateReply>& replies) {
  for (CreateReply& reply : replies) {
    CreateDone done;
    {
      MutexLock lock(mutex_);
      done = ReleaseSlot(reply.sequence).create;
    }
    if (!done) continue;
    const ErrorCode error = ErrorOf(reply.status);
    done(error, std::move(reply));
  }
}

template <typename IsDue>
EnclaveStream::Released EnclaveStream::ReleaseIf(IsDue is_due) {
  Released released;
  if (free_slots_.size() == kSlotsMax) return released;
  for (std::uint32_t i = 0; i < kSlotsMax; ++i) {
    if (!slots_[i].in_use || !is_due(slots_[i], released)) continue;
    Slot slot = ReleaseSlot(slots_[i].generation << kSlotBits | i);
    if (slot.sign != nullptr) {
      released.signs.Append(slot.sign);
      ++released.sign_count;
    }
    if (slot.create) released.creates.push_back(std::move(slot.create));
  }
  return released;
}

void EnclaveStream::Expire(MonotonicTime now) {
  Released expired;
  {
    MutexLock lock(mutex_);
    expired = ReleaseIf([now](const Slot& slot, const Released&) { return now >= slot.deadline; });
  }
  FailAll(expired.signs.first(), ErrorCode::kUnavailable);
  for (CreateDone& done : expired.creates) done(ErrorCode::kUnavailable, {});
  if (expired.sign_count > 0) pool_.OnExpired(expired.sign_count);
}

std::size_t EnclaveStream::TakeBack(MonotonicTime since, std::size_t count_max) {
  Released late;
  {
    MutexLock lock(mutex_);
    late = ReleaseIf([since, count_max](const Slot& slot, const Released& so_far) {
      return slot.sign != nullptr && slot.sign->gathered_at < since &&
             so_far.sign_count < count_max;
    });
  }
  if (late.sign_count > 0) pool_.OnLost(late.signs.first(), late.sign_count);
  return late.sign_count;
}

void EnclaveStream::LoseAllInFlight() {
  Released lost;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    queued_loads_.clear();
    queued_signs_.clear();
    queued_creates_.clear();
    lost = ReleaseIf([](const Slot&, const Released&) { return true; });
  }
  if (lost.sign_count > 0) pool_.OnLost(lost.signs.first(), lost.sign_count);
  for (CreateDone& done : lost.creates) done(ErrorCode::kUnavailable, {});
  FinishOnce();
}

// While writing_ is set a write is under way or about to start.
void EnclaveStream::FinishOnce() {
  {
    MutexLock lock(mutex_);
    if (!closed_ || writing_ || std::exchange(finished_, true)) return;
  }
  connection_->Finish();
}

// What is in flight is answered when the connection says that it is broken.
void EnclaveStream::Close() { connection_->Close(); }

void EnclaveStream::OnClosed() {
  pool_.OnStreamClosed();
  self_.reset();  // may delete this
}

std::size_t EnclaveStream::in_flight() const {
  MutexLock lock(mutex_);
  return kSlotsMax - free_slots_.size();
}

bool EnclaveStream::closed() const {
  MutexLock lock(mutex_);
  return closed_;
}

}  // namespace bulla
