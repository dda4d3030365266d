#include "tests/simulation/enclave_model.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "wire/address.h"

namespace bulla {
namespace {

// Between two looks at whether an enclave that is frozen has come to.
constexpr std::chrono::milliseconds kLook{100};
constexpr std::size_t kOneInIsOpened = 64;  // keys that take too long to be opened

std::size_t ItemsOf(const EnclaveModel::Frame& frame) {
  return frame.batch.signs.size() + frame.batch.creates.size();
}

}  // namespace

KeyId Keys::IdOf(std::uint32_t key) {
  KeyId id;
  for (std::size_t i = 0; i < 4; ++i) id.bytes[i] = static_cast<std::uint8_t>(key >> (8 * i));
  return id;
}

std::uint32_t Keys::NumberOf(const KeyId& id) {
  std::uint32_t key = 0;
  for (std::size_t i = 0; i < 4; ++i) key |= static_cast<std::uint32_t>(id.bytes[i]) << (8 * i);
  return key;
}

DekId Keys::DekIdOf(std::uint32_t dek) {
  DekId id;
  id.bytes[0] = static_cast<std::uint8_t>(dek);
  id.bytes[1] = 1;  // none of the sealing ones
  return id;
}

Bytes Keys::BlobOf(std::uint32_t key) {
  Bytes blob(sizeof key);
  std::memcpy(blob.data(), &key, sizeof key);
  return blob;
}

std::uint32_t Keys::KeyIn(const Bytes& blob) {
  std::uint32_t key = 0;
  std::memcpy(&key, blob.data(), sizeof key);
  return key;
}

Digest32 Keys::DigestOf(std::uint64_t call) {
  Digest32 digest{};
  std::memcpy(digest.data(), &call, sizeof call);
  return digest;
}

std::uint64_t Keys::CallIn(const RecoverableSignature& signature) {
  std::uint64_t call = 0;
  std::memcpy(&call, signature.rs.data(), sizeof call);
  return call;
}

void EnclaveModel::Take(Frame frame) {
  received_ += frame.batch.signs.size();
  frames_ += frame.batch.signs.empty() ? 0 : 1;
  const MonotonicTime arrives_at = frame.arrives_at;
  world_.agenda.At(arrives_at, [this, boot = boot_, frame = std::move(frame)]() mutable {
    if (up_ && boot == boot_) Arrive(std::move(frame));
  });
}

void EnclaveModel::Arrive(Frame frame) {
  if (queued_items_ + ItemsOf(frame) > kQueueMax) {
    ReplyBatch replies;
    for (const SignItem& item : frame.batch.signs) {
      replies.signs.push_back({.sequence = item.sequence, .status = ItemStatus::kBusy});
    }
    for (const CreateItem& item : frame.batch.creates) {
      replies.creates.push_back({.sequence = item.sequence, .status = ItemStatus::kBusy});
    }
    return frame.answered(std::move(replies));
  }
  queued_items_ += ItemsOf(frame);
  queue_.push_back(std::move(frame));
  Begin();
}

void EnclaveModel::Begin() {
  if (working_ || frozen_ || queue_.empty()) return;
  working_ = true;
  const auto items = static_cast<Duration::rep>(ItemsOf(queue_.front()));
  world_.After(service_ * items * slowness_, [this, boot = boot_] {
    if (boot == boot_) Finish();
  });
}

void EnclaveModel::Finish() {
  if (frozen_) {
    overslept_ = true;
    return;
  }
  working_ = false;
  Frame frame = std::move(queue_.front());
  queue_.pop_front();
  queued_items_ -= ItemsOf(frame);
  // A blob whose data key is not open is not kept.
  std::unordered_set<std::uint32_t> came;
  for (const Bytes& blob : frame.batch.loads) {
    const std::uint32_t key = Keys::KeyIn(blob);
    came.insert(key);
    if (open_deks_.contains(keys_.DekOf(key)) && !refuses_deks_) blobs_.insert(key);
  }
  ReplyBatch replies;
  for (const SignItem& item : frame.batch.signs) {
    const bool blob_came = came.contains(Keys::NumberOf(item.key_id));
    ItemStatus status = Work(item, frame.sent_at + std::chrono::microseconds(item.budget_us));
    if (blob_came && status == ItemStatus::kNeedBlob) status = ItemStatus::kNeedDek;
    if (blob_came && status == ItemStatus::kOk && world_.dice.OneIn(kOneInIsOpened)) {
      status = ItemStatus::kRehydrateTimeout;
    }
    SignReply reply{.sequence = item.sequence, .status = status};
    if (status == ItemStatus::kOk) {
      ++signatures_;
      std::copy(item.digest.begin(), item.digest.end(), reply.signature.rs.begin());
    }
    replies.signs.push_back(reply);
  }
  for (const CreateItem& item : frame.batch.creates) {
    replies.creates.push_back(
        {.sequence = item.sequence,
         .status = sealing_dek_ ? ItemStatus::kOk : ItemStatus::kNoSealingDek});
  }
  if (!replies.empty()) {
    world_.After(kWay, [answered = std::move(frame.answered), garbled = garbles_,
                        replies = std::move(replies)]() mutable {
      if (garbled) return answered(std::nullopt);
      answered(std::move(replies));
    });
  }
  Begin();
}

ItemStatus EnclaveModel::Work(const SignItem& item, MonotonicTime deadline) {
  const std::uint32_t key = Keys::NumberOf(item.key_id);
  if (world_.now >= deadline) return ItemStatus::kExpired;
  if (refuses_deks_) return ItemStatus::kNeedDek;
  if (!blobs_.contains(key)) return ItemStatus::kNeedBlob;
  if (open_deks_.contains(keys_.DekOf(key))) return ItemStatus::kOk;
  blobs_.erase(key);
  return ItemStatus::kNeedDek;
}

wire::v1::HelloReply EnclaveModel::Hello() const {
  wire::v1::HelloReply reply;
  BootId id;
  id.bytes[0] = static_cast<std::uint8_t>(boot_);
  id.bytes[1] = static_cast<std::uint8_t>(boot_ >> 8);
  reply.set_protocol_version(kWireProtocolVersion);
  reply.set_boot_id(id.bytes.data(), BootId::kBytes);
  reply.set_platform(std::string(kSimulated));
  reply.set_store_id(store_id_);
  if (sealing_dek_) {
    reply.mutable_sealing_dek()->set_dek_id(sealing_dek_->bytes.data(), DekId::kBytes);
    reply.mutable_sealing_dek()->set_wrapped("wrapped");
  }
  return reply;
}

wire::v1::KeysInUseReply EnclaveModel::KeysInUse() const {
  wire::v1::KeysInUseReply reply;
  reply.set_parts(1);
  for (std::uint32_t key = 0; key < keys_.count; ++key) {
    if (!blobs_.contains(key) || !open_deks_.contains(keys_.DekOf(key))) continue;
    const KeyId id = Keys::IdOf(key);
    reply.mutable_key_ids()->append(AsText(id.bytes));
  }
  return reply;
}

void EnclaveModel::Unlock(std::uint64_t connection, const wire::v1::UnlockRequest& request,
                          UnlockDone done) {
  const absl::Status away = absl::UnavailableError("KMS is away");
  if (request.new_sealing_dek()) {
    return AwaitKms(boot_, world_.now + kUnlockTimeout, [this, away, done](bool there) {
      if (!there) return done(away);
      DekId id;
      for (std::size_t i = 2; i < DekId::kBytes; ++i) {
        id.bytes[i] = static_cast<std::uint8_t>(world_.dice.Roll());
      }
      if (!sealing_dek_) sealing_dek_ = id;
      wire::v1::UnlockReply reply;
      reply.mutable_sealing_dek()->set_dek_id(sealing_dek_->bytes.data(), DekId::kBytes);
      reply.mutable_sealing_dek()->set_wrapped("wrapped");
      done(reply);
    });
  }
  const std::uint32_t dek = Keys::DekNumberOf(DekId::FromBytes(AsBytes(request.open().dek_id())));
  const std::pair task(connection, dek);
  if (!unlocking_.insert(task).second) wrong_("two unlocks of one data key in one enclave");
  AwaitKms(boot_, world_.now + kUnlockTimeout, [this, boot = boot_, task, away, done](bool there) {
    if (boot == boot_) unlocking_.erase(task);
    if (!there) return done(away);
    open_deks_.insert(task.second);
    done(wire::v1::UnlockReply());
  });
}

void EnclaveModel::AwaitKms(std::uint64_t boot, MonotonicTime give_up,
                            std::function<void(bool)> done) {
  world_.After(kUnlockTime, [this, boot, give_up, done = std::move(done)]() mutable {
    if (!up_ || boot != boot_ || keys_.kms_away || world_.now >= give_up) return done(false);
    if (!frozen_) return done(true);
    world_.After(kLook, [this, boot, give_up, done = std::move(done)]() mutable {
      AwaitKms(boot, give_up, std::move(done));
    });
  });
}

void EnclaveModel::Kill() {
  ++boot_;
  up_ = false;
  frozen_ = working_ = overslept_ = false;
  queue_.clear();
  queued_items_ = 0;
  LoseDeks();
  LoseBlobs();
  unlocking_.clear();
  sealing_dek_.reset();
  store_id_.clear();
}

void EnclaveModel::Start() { up_ = true; }

void EnclaveModel::Freeze() {
  if (!frozen_) frozen_since_ = world_.now;
  frozen_ = true;
}

void EnclaveModel::Thaw() {
  frozen_ = false;
  if (std::exchange(overslept_, false)) return Finish();
  Begin();
}

}  // namespace bulla
