#include "tests/simulation/enclave_model.h"

#include <algorithm>
#include <stdexcept>

namespace bulla {
namespace {

// Between two looks at whether an enclave that is frozen has come to.
constexpr std::chrono::milliseconds kLook{100};
constexpr std::size_t kOneInIsOpened = 64;  // keys that take too long to be opened

}  // namespace

void World::RunUntil(MonotonicTime end) {
  constexpr int kAtOnceMax = 1'000'000;
  int at_once = 0;
  while (!agenda.empty() && agenda.next() <= end) {
    at_once = agenda.next() > now ? 0 : at_once + 1;
    if (at_once > kAtOnceMax) throw std::runtime_error("time stands still");
    now = std::max(now, agenda.next());
    ++steps;
    agenda.Take()();
  }
  now = end;
}

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

void EnclaveModel::Take(Frame frame) {
  received_ += frame.items.size();
  world_.After(kWay, [this, boot = boot_, frame = std::move(frame)]() mutable {
    if (up_ && boot == boot_) Arrive(std::move(frame));
  });
}

void EnclaveModel::Arrive(Frame frame) {
  if (queued_items_ + frame.items.size() > kQueueMax) {
    std::vector<Reply> replies;
    for (const Item& item : frame.items) {
      replies.push_back({item.sequence, ItemStatus::kBusy, item.call});
    }
    return frame.answered(std::move(replies));
  }
  queued_items_ += frame.items.size();
  queue_.push_back(std::move(frame));
  Begin();
}

void EnclaveModel::Begin() {
  if (working_ || frozen_ || queue_.empty()) return;
  working_ = true;
  const auto items = static_cast<Duration::rep>(queue_.front().items.size());
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
  queued_items_ -= frame.items.size();
  // A blob whose data key is not open is not kept.
  for (std::uint32_t key : frame.blobs) {
    if (open_deks_.contains(keys_.DekOf(key)) && !refuses_deks_) blobs_.insert(key);
  }
  std::vector<Reply> replies;
  for (const Item& item : frame.items) {
    const bool blob_came = std::ranges::count(frame.blobs, item.key) > 0;
    ItemStatus status = Work(item);
    if (blob_came && status == ItemStatus::kNeedBlob) status = ItemStatus::kNeedDek;
    if (blob_came && status == ItemStatus::kOk && world_.dice.OneIn(kOneInIsOpened)) {
      status = ItemStatus::kRehydrateTimeout;
    }
    if (status == ItemStatus::kOk) ++signatures_;
    replies.push_back({item.sequence, status, item.call});
  }
  world_.After(kWay, [answered = std::move(frame.answered), garbled = garbles_,
                      replies = std::move(replies)]() mutable {
    if (garbled) return answered(std::nullopt);
    answered(std::move(replies));
  });
  Begin();
}

ItemStatus EnclaveModel::Work(const Item& item) {
  if (world_.now >= item.deadline) return ItemStatus::kExpired;
  if (refuses_deks_) return ItemStatus::kNeedDek;
  if (!blobs_.contains(item.key)) return ItemStatus::kNeedBlob;
  if (open_deks_.contains(keys_.DekOf(item.key))) return ItemStatus::kOk;
  blobs_.erase(item.key);
  return ItemStatus::kNeedDek;
}

void EnclaveModel::Unlock(std::uint32_t dek, std::function<void(bool)> done) {
  world_.After(kUnlockTime, [this, dek, boot = boot_, give_up = world_.now + kUnlockTimeout,
                             done = std::move(done)]() mutable {
    AwaitKms(boot, dek, give_up, std::move(done));
  });
}

void EnclaveModel::AwaitKms(std::uint64_t boot, std::uint32_t dek, MonotonicTime give_up,
                            std::function<void(bool)> done) {
  if (!up_ || boot != boot_ || keys_.kms_away || world_.now >= give_up) return done(false);
  if (!frozen_) {
    open_deks_.insert(dek);
    return done(true);
  }
  world_.After(kLook, [this, boot, dek, give_up, done = std::move(done)]() mutable {
    AwaitKms(boot, dek, give_up, std::move(done));
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
