#include "enclave/dek_table.h"

#include <fmt/format.h>
#include <utility>

#include "kms/sealed_key.h"

namespace bulla {

std::shared_ptr<const OpenDek> DekTable::Find(const DekId& id) const {
  MutexLock lock(mutex_);
  auto it = open_.find(id);
  return it == open_.end() ? nullptr : it->second;
}

absl::Status DekTable::Add(const DekId& id, Secret<32> key) {
  MutexLock lock(mutex_);
  if (open_.contains(id)) return absl::OkStatus();
  if (open_.size() >= kOpenDeksMax) {
    return absl::ResourceExhaustedError(
        fmt::format("{} data keys are open, the most that an enclave holds", kOpenDeksMax));
  }
  open_[id] = std::make_shared<const OpenDek>(OpenDek{id, std::move(key)});
  return absl::OkStatus();
}

absl::Status DekTable::AddSealing(const DekId& id, Secret<32> key, Bytes wrapped,
                                  std::string kms_key_id) {
  BULLA_RETURN_IF_ERROR(Add(id, std::move(key)));
  MutexLock lock(mutex_);
  sealing_ = SealingDek{open_.at(id), std::move(wrapped), std::move(kms_key_id)};
  seals_left_ = kKeysPerDekMax;
  return absl::OkStatus();
}

std::optional<SealingDek> DekTable::sealing() const {
  MutexLock lock(mutex_);
  return sealing_;
}

std::optional<SealingDek> DekTable::TakeSeal() {
  MutexLock lock(mutex_);
  if (seals_left_ == 0) return std::nullopt;
  --seals_left_;
  return sealing_;
}

std::size_t DekTable::size() const {
  MutexLock lock(mutex_);
  return open_.size();
}

}  // namespace bulla
