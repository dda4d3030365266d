#include "enclave/dek_table.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/random.h"
#include "crypto/hmac.h"

namespace bulla {
namespace {

// The soft TTL of each DEK is shortened by up to a tenth, so that those which were opened together
// are not renewed together.
constexpr int kSoftJitterDivisor = 10;

constexpr std::chrono::seconds kReportPatienceMax{60};

}  // namespace

absl::StatusOr<std::unique_ptr<DekTable>> DekTable::Create(const KeyPolicy& policy,
                                                           std::uint64_t seals_max) {
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<SecretArena> arena,
                         SecretArena::Create({.slot_bytes = Secret<32>::kBytes,
                                              .budget_bytes = kOpenDeksMax * Secret<32>::kBytes}));
  return std::unique_ptr<DekTable>(new DekTable(policy, seals_max, std::move(arena)));
}

DekTable::DekTable(const KeyPolicy& policy, std::uint64_t seals_max,
                   std::unique_ptr<SecretArena> arena)
    : seals_max_(seals_max), policy_(policy), arena_(std::move(arena)) {
  FillRandom(tag_key_.Expose());
}

const DekTable::OpenDek* DekTable::Find(const DekId& id, MonotonicTime now) const {
  auto it = open_.find(id);
  return it == open_.end() || now >= it->second.validity->until() ? nullptr : &it->second;
}

std::optional<DekLease> DekTable::Lease(const DekId& id, MonotonicTime now) const {
  const OpenDek* dek = Find(id, now);
  if (dek == nullptr) return std::nullopt;
  DekLease lease{id, {}, dek->validity};
  std::ranges::copy(std::as_const(*arena_).Expose(dek->slot), lease.key.Expose().begin());
  return lease;
}

std::optional<DekLease> DekTable::Acquire(const DekId& id, MonotonicTime now) const {
  MutexLock lock(mutex_);
  return Lease(id, now);
}

std::shared_ptr<const DekValidity> DekTable::Validity(const DekId& id, MonotonicTime now) const {
  MutexLock lock(mutex_);
  const OpenDek* dek = Find(id, now);
  return dek == nullptr ? nullptr : dek->validity;
}

absl::StatusOr<std::optional<Bytes>> DekTable::BytesForKms(const DekId& id, ByteSpan wrapped,
                                                           MonotonicTime now) const {
  const Tag tag = TagOf(id, wrapped);
  MutexLock lock(mutex_);
  const OpenDek* dek = Find(id, now);
  if (dek != nullptr && now < dek->renew_at) return std::nullopt;
  if (IsSealing(sealing_, id)) return sealing_->dek.wrapped;
  if (IsSealing(next_, id)) return next_->dek.wrapped;
  BULLA_RETURN_IF_ERROR(CheckBytes(id, tag));
  return Bytes(wrapped.begin(), wrapped.end());
}

DekTable::Tag DekTable::TagOf(const DekId& id, ByteSpan wrapped) const {
  Bytes named(id.bytes.begin(), id.bytes.end());
  named.insert(named.end(), wrapped.begin(), wrapped.end());
  const ByteArray<32> mac = HmacSha256(tag_key_.Expose(), named);
  Tag tag;
  std::copy_n(mac.begin(), tag.size(), tag.begin());
  return tag;
}

absl::Status DekTable::CheckBytes(const DekId& id, const Tag& tag) const {
  auto known = known_.find(id);
  if (known == known_.end() || ConstantTimeEquals(known->second, tag)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the data key comes with another blob than it was opened from before");
}

absl::Status DekTable::Open(const DekId& id, ByteSpan wrapped, const Secret<32>& key,
                            MonotonicTime asked_at, std::uint64_t random) {
  const Tag tag = TagOf(id, wrapped);
  MutexLock lock(mutex_);
  BULLA_RETURN_IF_ERROR(CheckBytes(id, tag));
  OpenDek* dek = nullptr;
  if (auto it = open_.find(id); it != open_.end()) {
    dek = &it->second;
    if (!ConstantTimeEquals(std::as_const(*arena_).Expose(dek->slot), key.Expose())) {
      return absl::DataLossError("the data key opens to other bytes than before");
    }
  } else {
    BULLA_ASSIGN_OR_RETURN(dek, Add(id, tag, key));
  }
  SetTimes(*dek, asked_at, random);
  return absl::OkStatus();
}

absl::StatusOr<DekTable::OpenDek*> DekTable::Add(const DekId& id, const Tag& tag,
                                                 const Secret<32>& key) {
  if (known_.size() >= kKnownDeksMax && !known_.contains(id)) {
    return absl::ResourceExhaustedError(fmt::format(
        "{} data keys have been open, the most that an enclave knows apart", kKnownDeksMax));
  }
  std::optional<std::uint32_t> slot = arena_->Allocate();
  if (!slot) {
    return absl::ResourceExhaustedError(
        fmt::format("{} data keys are open, the most that an enclave holds", kOpenDeksMax));
  }
  std::ranges::copy(key.Expose(), arena_->Expose(*slot).begin());
  known_.emplace(id, tag);
  return &open_
              .emplace(id, OpenDek{.slot = *slot,
                                   .validity = std::make_shared<DekValidity>(MonotonicTime::min()),
                                   .asked_at = MonotonicTime::min()})
              .first->second;
}

void DekTable::SetTimes(OpenDek& dek, MonotonicTime asked_at, std::uint64_t random) {
  if (asked_at >= dek.asked_at) {  // of two renewals that overtake each other, the later counts
    const Duration soft = policy_.dek_ttl_soft;
    const auto jitter = static_cast<Duration::rep>(
        random % static_cast<std::uint64_t>(soft.count() / kSoftJitterDivisor + 1));
    dek.validity->SetUntil(asked_at + policy_.dek_ttl_hard);
    dek.asked_at = asked_at;
    dek.renew_at = asked_at + soft - Duration(jitter);
  }
  dek.reported_at.reset();
  next_lapse_ = std::min(next_lapse_, dek.validity->until());
}

absl::Status DekTable::AddSealing(SealingDek dek, const Secret<32>& key, MonotonicTime asked_at,
                                  std::uint64_t random) {
  const Tag tag = TagOf(dek.id, dek.wrapped);
  MutexLock lock(mutex_);
  if (known_.contains(dek.id)) {
    return absl::InternalError("a data key has been opened under the id of a new one");
  }
  BULLA_ASSIGN_OR_RETURN(OpenDek * added, Add(dek.id, tag, key));
  added->made_here = true;
  SetTimes(*added, asked_at, random);
  next_ = Sealing{.dek = std::move(dek), .seals_left = seals_max_};
  return absl::OkStatus();
}

bool DekTable::Seals(const std::optional<Sealing>& sealing, MonotonicTime now) const {
  if (!sealing || sealing->seals_left == 0) return false;
  const OpenDek* dek = Find(sealing->dek.id, now);
  return dek != nullptr && dek->made_here;
}

absl::Status DekTable::SealUnder(const DekId& id, MonotonicTime now) {
  MutexLock lock(mutex_);
  if (Seals(next_, now) && IsSealing(next_, id)) sealing_ = std::exchange(next_, std::nullopt);
  if (Seals(sealing_, now) && IsSealing(sealing_, id)) return absl::OkStatus();
  return absl::FailedPreconditionError("this is not the data key to seal under");
}

std::optional<SealingDek> DekTable::sealing(MonotonicTime now) const {
  MutexLock lock(mutex_);
  if (Seals(next_, now)) return next_->dek;
  if (Seals(sealing_, now) && !NearlyUsedUp(*sealing_)) return sealing_->dek;
  return std::nullopt;
}

bool DekTable::WantsSealing(MonotonicTime now) const {
  MutexLock lock(mutex_);
  return Seals(next_, now) || !Seals(sealing_, now) || NearlyUsedUp(*sealing_);
}

std::optional<DekLease> DekTable::AcquireToSeal(MonotonicTime now) {
  MutexLock lock(mutex_);
  if (!Seals(sealing_, now)) return std::nullopt;
  --sealing_->seals_left;
  return Lease(sealing_->dek.id, now);
}

Duration DekTable::ReportPatience() const {
  return std::min<Duration>(kReportPatienceMax, policy_.dek_ttl_hard / 20);
}

std::vector<DekId> DekTable::TakeRenewals(MonotonicTime now, std::size_t max) {
  MutexLock lock(mutex_);
  const Duration patience = ReportPatience();
  std::vector<DekId> due;
  auto report = [&](const DekId& id, std::optional<MonotonicTime>& reported_at) {
    if (due.size() >= max || (reported_at && now < *reported_at + patience)) return;
    reported_at = now;
    due.push_back(id);
  };
  for (auto& [id, dek] : open_) {
    if (now >= dek.renew_at && now < dek.validity->until()) report(id, dek.reported_at);
  }
  return due;
}

void DekTable::RenewalFailed(const DekId& id) {
  MutexLock lock(mutex_);
  auto it = open_.find(id);
  if (it != open_.end()) it->second.reported_at.reset();
}

void DekTable::Advance(MonotonicTime now) {
  MutexLock lock(mutex_);
  if (now < next_lapse_) return;
  next_lapse_ = MonotonicTime::max();
  for (auto it = open_.begin(); it != open_.end();) {
    auto current = it++;
    if (now < current->second.validity->until()) {
      next_lapse_ = std::min(next_lapse_, current->second.validity->until());
    } else {
      arena_->Free(current->second.slot);  // wipes
      open_.erase(current);
    }
  }
}

void DekTable::SetPolicy(const KeyPolicy& policy) {
  MutexLock lock(mutex_);
  policy_ = policy;
  for (auto& [id, dek] : open_) {
    dek.validity->SetUntil(std::min(dek.validity->until(), dek.asked_at + policy.dek_ttl_hard));
    dek.renew_at = std::min(dek.renew_at, dek.asked_at + policy.dek_ttl_soft);
    next_lapse_ = std::min(next_lapse_, dek.validity->until());
  }
}

std::size_t DekTable::size() const {
  MutexLock lock(mutex_);
  return open_.size();
}

}  // namespace bulla
