#include "gateway/unlock/unlocker.h"

#include <bit>
#include <optional>
#include <utility>

#include "base/log.h"

namespace bulla {
namespace {

// Between two log lines about DEKs that are not in the store: an enclave could name 64 a second.
constexpr std::chrono::minutes kMissingDekSilence{1};

// Keys whose DEK is remembered. Each is 40 bytes; an outage refuses many keys many times.
constexpr std::size_t kKeysRememberedMax = 64 * 1024;

// From a KMS that is near to one that does not answer: an unlock's deadline is 10 s.
const std::vector<double>& BucketsMs() {
  static const std::vector<double> kBuckets = {1,   2,   5,    10,   20,   50,   100,
                                               200, 500, 1000, 2000, 5000, 10000};
  return kBuckets;
}

}  // namespace

Unlocker::Unlocker(std::size_t deks_ahead_max, const UnlockSettings& settings, KeyStore& store,
                   Metrics& metrics, const Environment& environment)
    : deks_ahead_max_(deks_ahead_max),
      store_(store),
      environment_(environment),
      clock_(environment.clock),
      queue_(settings),
      started_total_(metrics.AddCounter(
          "unlock_bg_rate", "Unlocks started in the background, retries among them: use rate()")),
      done_total_(metrics.AddCounter("bulla_gateway_unlocks_total",
                                     "DEKs opened in an enclave by a KMS call")),
      failed_total_(
          metrics.AddCounter("unlock_fail_total", "Unlocks that failed; each is retried")),
      latency_(metrics.AddHistogram("unlock_latency_ms",
                                    "Time of an unlock that succeeded, from its start, in ms",
                                    BucketsMs())) {
  for (int i = 0; i < kUnlockCauseCount; ++i) {
    failed_by_cause_[static_cast<std::size_t>(i)] = &metrics.AddCounter(
        "bulla_gateway_unlock_failures_total",
        "Unlocks that failed, by cause; of access_denied, key_not_found, key_disabled, "
        "foreign_ciphertext and refused none passes by itself",
        {{"cause", std::string(NameOf(static_cast<UnlockCause>(i)))}});
  }
}

void Unlocker::Attach(const std::shared_ptr<EnclaveLink>& link) {
  const std::uint32_t id = link->id();
  {
    MutexLock lock(mutex_);
    queue_.Forget(id);
    enclaves_[id] = {.link = link, .list_awaited = deks_ahead_max_ > 0};
  }
  if (deks_ahead_max_ == 0) return;
  store_.ListDeksInUse(deks_ahead_max_, [this, id](absl::StatusOr<std::vector<DekRow>> deks) {
    if (deks.ok()) {
      for (const DekRow& dek : *deks) WantId(id, dek.dek_id);
    }
    MutexLock lock(mutex_);
    if (auto it = enclaves_.find(id); it != enclaves_.end()) it->second.list_awaited = false;
  });
}

void Unlocker::Detach(const EnclaveLink& link) {
  MutexLock lock(mutex_);
  queue_.Forget(link.id());
  enclaves_.erase(link.id());
}

void Unlocker::Want(const EnclaveLink& link, const DekId& dek_id) { WantId(link.id(), dek_id); }

void Unlocker::WantId(std::uint32_t enclave, const DekId& dek_id) {
  const MonotonicTime now = clock_.Now();
  {
    MutexLock lock(mutex_);
    auto it = enclaves_.find(enclave);
    if (it == enclaves_.end() || !queue_.Want({enclave, dek_id}, now)) return;
    it->second.open.erase(dek_id);
  }
  Start(now);
}

ErrorCode Unlocker::WantFor(const EnclaveLink& link, const KeyId& key_id) {
  std::optional<DekId> known;
  UnlockCause cause = UnlockCause::kOther;
  {
    MutexLock lock(mutex_);
    if (dek_of_.size() >= kKeysRememberedMax) dek_of_.clear();
    auto [it, is_new] = dek_of_.try_emplace(key_id);
    if (!is_new && !it->second) return ErrorCode::kUnlockRequired;  // asked for already
    known = it->second;
    if (known) cause = queue_.CauseOf({link.id(), *known});
  }
  if (known) {
    Want(link, *known);
    return ErrorOf(cause);
  }
  store_.FindKey(key_id, [this, id = link.id(), key_id](absl::StatusOr<std::optional<KeyRow>> row) {
    const bool found = row.ok() && row->has_value();
    {
      MutexLock lock(mutex_);
      if (found) {
        dek_of_.insert_or_assign(key_id, (*row)->dek_id);
      } else {
        dek_of_.erase(key_id);
      }
    }
    if (found) WantId(id, (*row)->dek_id);
  });
  return ErrorCode::kUnlockRequired;
}

void Unlocker::RetryRefused() {
  const MonotonicTime now = clock_.Now();
  {
    MutexLock lock(mutex_);
    queue_.RetryRefused(now);
  }
  Start(now);
}

void Unlocker::CountFailure(UnlockCause cause) {
  failed_total_.Increment();
  failed_by_cause_[static_cast<std::size_t>(cause)]->Increment();
}

void Unlocker::Share(std::uint32_t owner, const DekId& dek_id) {
  std::vector<std::uint32_t> others;
  {
    MutexLock lock(mutex_);
    if (!shared_.insert(dek_id).second) return;
    if (auto it = enclaves_.find(owner); it != enclaves_.end()) it->second.open.insert(dek_id);
    for (const auto& [id, enclave] : enclaves_) {
      if (id != owner) others.push_back(id);
    }
  }
  for (std::uint32_t id : others) WantId(id, dek_id);
}

bool Unlocker::Holds(std::uint32_t enclave, const KeyId& key_id) const {
  MutexLock lock(mutex_);
  auto dek = dek_of_.find(key_id);
  if (dek == dek_of_.end() || !dek->second) return false;
  auto it = enclaves_.find(enclave);
  return it != enclaves_.end() && it->second.open.contains(*dek->second);
}

void Unlocker::Tick(MonotonicTime now) { Start(now); }

void Unlocker::Start(MonotonicTime now) {
  std::vector<UnlockQueue::Task> due;
  {
    MutexLock lock(mutex_);
    due = queue_.Start(now);
  }
  for (const UnlockQueue::Task& task : due) {
    started_total_.Increment();
    store_.FindDek(task.dek_id, [this, task, now](absl::StatusOr<std::optional<DekRow>> row) {
      if (!row.ok()) return Finish(task, row.status());
      if (!row->has_value()) return GiveUp(task);
      Open(task, **row, now);
    });
  }
}

void Unlocker::Open(const UnlockQueue::Task& task, const DekRow& dek, MonotonicTime begin) {
  std::shared_ptr<EnclaveLink> link;
  {
    MutexLock lock(mutex_);
    if (auto it = enclaves_.find(task.enclave); it != enclaves_.end()) link = it->second.link;
  }
  if (link == nullptr) return Finish(task, absl::UnavailableError("the enclave is gone"));
  link->OpenDek(dek, [this, task, begin](const absl::Status& status) {
    if (status.ok()) {
      latency_.Observe(std::chrono::duration<double, std::milli>(clock_.Now() - begin).count());
    }
    Finish(task, status);
  });
}

void Unlocker::Finish(const UnlockQueue::Task& task, const absl::Status& status) {
  if (status.ok()) {
    done_total_.Increment();
    MutexLock lock(mutex_);
    ++done_;
    if (auto it = enclaves_.find(task.enclave); it != enclaves_.end()) {
      it->second.open.insert(task.dek_id);
    }
    LogInfo("dek_opened", {{"enclave", LinkName(task.enclave)}, {"dek", task.dek_id.Short()}});
    queue_.Succeeded(task);
    return;
  }
  const UnlockCause cause = CauseOf(status);
  CountFailure(cause);
  MutexLock lock(mutex_);
  ++failed_;
  const unsigned attempts = queue_.Failed(task, clock_.Now(), environment_.random(), cause);
  if (!std::has_single_bit(attempts)) return;  // an outage with many DEKs must not fill the log
  LogWarn("unlock_failed", {{"enclave", LinkName(task.enclave)},
                            {"dek", task.dek_id.Short()},
                            {"attempts", attempts},
                            {"cause", NameOf(cause)},
                            {"reason", status.ToString()}});
}

// Rows are never deleted, so a DEK without one is of another store, or the enclave made it up:
// nothing under it is here to be signed with, and no retry helps. An enclave that has it open
// names it again at each probe until its hard TTL; each costs one look at the store.
void Unlocker::GiveUp(const UnlockQueue::Task& task) {
  CountFailure(UnlockCause::kOther);
  const MonotonicTime now = clock_.Now();
  MutexLock lock(mutex_);
  ++failed_;
  queue_.GaveUp(task);
  if (now < missing_dek_silence_until_) return;
  missing_dek_silence_until_ = now + kMissingDekSilence;
  LogWarn("dek_not_in_store", {{"enclave", LinkName(task.enclave)}, {"dek", task.dek_id.Short()}});
}

std::map<UnlockCause, std::size_t> Unlocker::Refused(std::uint32_t enclave) const {
  MutexLock lock(mutex_);
  return queue_.Refused(enclave);
}

std::string Unlocker::LinkName(std::uint32_t enclave) const {
  auto it = enclaves_.find(enclave);
  return it == enclaves_.end() ? "(gone)" : it->second.link->name();
}

Unlocker::Progress Unlocker::progress() const {
  MutexLock lock(mutex_);
  return {.pending = queue_.size(), .running = queue_.running(), .done = done_, .failed = failed_};
}

bool Unlocker::settled(const EnclaveLink& link) const {
  MutexLock lock(mutex_);
  auto it = enclaves_.find(link.id());
  return it != enclaves_.end() && !it->second.list_awaited && queue_.hopeful(link.id()) == 0;
}

bool Unlocker::settled() const {
  MutexLock lock(mutex_);
  if (queue_.hopeful() > 0) return false;
  for (const auto& [id, enclave] : enclaves_) {
    if (enclave.list_awaited) return false;
  }
  return true;
}

}  // namespace bulla
