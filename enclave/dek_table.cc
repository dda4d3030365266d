#include "enclave/dek_table.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "kms/sealed_key.h"

namespace bulla {
namespace {

// The soft TTL of each DEK is shortened by up to a tenth, so that those which were opened together
// are not renewed together.
constexpr int kSoftJitterDivisor = 10;

constexpr std::chrono::seconds kReportPatienceMax{60};

}  // namespace

absl::StatusOr<std::unique_ptr<DekTable>> DekTable::Create(const KeyPolicy& policy) {
  BULLA_ASSIGN_OR_RETURN(std::unique_ptr<SecretArena> arena,
                         SecretArena::Create({.slot_bytes = Secret<32>::kBytes,
                                              .budget_bytes = kOpenDeksMax * Secret<32>::kBytes}));
  return std::unique_ptr<DekTable>(new DekTable(policy, std::move(arena)));
}

DekTable::DekTable(const KeyPolicy& policy, std::unique_ptr<SecretArena> arena)
    : policy_(policy), arena_(std::move(arena)) {}

const DekTable::OpenDek* DekTable::Find(const DekId& id, MonotonicTime now) const {
  auto it = open_.find(id);
  return it == open_.end() || now >= it->second.validity->until() ? nullptr : &it->second;
}

std::optional<DekLoan> DekTable::Lend(const DekId& id, MonotonicTime now) const {
  const OpenDek* dek = Find(id, now);
  if (dek == nullptr) return std::nullopt;
  DekLoan loan{id, {}, dek->validity};
  std::ranges::copy(std::as_const(*arena_).Expose(dek->slot), loan.key.Expose().begin());
  return loan;
}

std::optional<DekLoan> DekTable::Borrow(const DekId& id, MonotonicTime now) const {
  MutexLock lock(mutex_);
  return Lend(id, now);
}

std::shared_ptr<const DekValidity> DekTable::Validity(const DekId& id, MonotonicTime now) const {
  MutexLock lock(mutex_);
  const OpenDek* dek = Find(id, now);
  return dek == nullptr ? nullptr : dek->validity;
}

bool DekTable::NeedsKms(const DekId& id, MonotonicTime now) const {
  MutexLock lock(mutex_);
  const OpenDek* dek = Find(id, now);
  return dek == nullptr || now >= dek->renew_at;
}

absl::Status DekTable::Open(const DekId& id, const Secret<32>& key, MonotonicTime asked_at,
                            std::uint64_t random) {
  MutexLock lock(mutex_);
  return OpenLocked(id, key, asked_at, random);
}

absl::Status DekTable::OpenLocked(const DekId& id, const Secret<32>& key, MonotonicTime asked_at,
                                  std::uint64_t random) {
  const MonotonicTime until = asked_at + policy_.dek_ttl_hard;
  const Duration soft = policy_.dek_ttl_soft;
  const auto jitter = static_cast<Duration::rep>(
      random % static_cast<std::uint64_t>(soft.count() / kSoftJitterDivisor + 1));

  auto it = open_.find(id);
  if (it == open_.end()) {
    std::optional<std::uint32_t> slot = arena_->Allocate();
    if (!slot) {
      return absl::ResourceExhaustedError(
          fmt::format("{} data keys are open, the most that an enclave holds", kOpenDeksMax));
    }
    std::ranges::copy(key.Expose(), arena_->Expose(*slot).begin());
    it = open_.emplace(id, OpenDek{.slot = *slot, .validity = std::make_shared<DekValidity>(until)})
             .first;
  } else if (!ConstantTimeEquals(std::as_const(*arena_).Expose(it->second.slot), key.Expose())) {
    return absl::DataLossError("the data key opens to other bytes than before");
  }
  OpenDek& dek = it->second;
  if (asked_at >= dek.asked_at) {  // of two renewals that overtake each other, the later counts
    dek.validity->SetUntil(until);
    dek.asked_at = asked_at;
    dek.renew_at = asked_at + soft - Duration(jitter);
  }
  dek.reported_at.reset();
  if (sealing_ && sealing_->id == id) sealing_reported_at_.reset();
  next_lapse_ = std::min(next_lapse_, dek.validity->until());
  return absl::OkStatus();
}

absl::Status DekTable::OpenSealing(const SealingDek& dek, const Secret<32>& key,
                                   MonotonicTime asked_at, std::uint64_t random) {
  MutexLock lock(mutex_);
  BULLA_RETURN_IF_ERROR(OpenLocked(dek.id, key, asked_at, random));
  sealing_ = dek;
  sealing_reported_at_.reset();
  seals_left_ = kKeysPerDekMax;
  return absl::OkStatus();
}

std::optional<SealingDek> DekTable::sealing() const {
  MutexLock lock(mutex_);
  return sealing_;
}

std::optional<DekLoan> DekTable::BorrowToSeal(MonotonicTime now) {
  MutexLock lock(mutex_);
  if (!sealing_ || seals_left_ == 0) return std::nullopt;
  std::optional<DekLoan> loan = Lend(sealing_->id, now);
  if (loan) --seals_left_;
  return loan;
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
  if (sealing_ && Find(sealing_->id, now) == nullptr) report(sealing_->id, sealing_reported_at_);
  for (auto& [id, dek] : open_) {
    if (now >= dek.renew_at && now < dek.validity->until()) report(id, dek.reported_at);
  }
  return due;
}

void DekTable::RenewalFailed(const DekId& id) {
  MutexLock lock(mutex_);
  auto it = open_.find(id);
  if (it != open_.end()) it->second.reported_at.reset();
  if (sealing_ && sealing_->id == id) sealing_reported_at_.reset();
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
