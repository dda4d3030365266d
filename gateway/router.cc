#include "gateway/router.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <absl/container/inlined_vector.h>

#include "base/log.h"
#include "base/random.h"
#include "gateway/call_list.h"

namespace bulla {
namespace {

// DEKs opened in an enclave as soon as it is there, newest first. The rest are opened when asked
// for.
constexpr std::size_t kDeksOpenedAheadMax = 64;

// A key's blob is sent at most twice for one call: the second time only if it was dropped between.
constexpr std::uint8_t kBlobRequestsMax = 2;

// Between two log lines about DEKs that are not in the store: an enclave could name 64 a second.
constexpr std::chrono::minutes kMissingDekSilence{1};

// From a KMS that is near to one that does not answer: an unlock's deadline is 10 s.
const std::vector<double>& UnlockBucketsMs() {
  static const std::vector<double> kBuckets = {1,   2,   5,    10,   20,   50,   100,
                                               200, 500, 1000, 2000, 5000, 10000};
  return kBuckets;
}

using Milliseconds = std::chrono::duration<double, std::milli>;

std::vector<HashRing::Member> MembersOf(const std::vector<Address>& enclaves) {
  std::vector<HashRing::Member> members;
  for (const Address& address : enclaves) members.push_back({address.ToString(), 1});
  return members;
}

// What a caller learns when the store does not do what it should.
Error StoreError(const absl::Status& status) {
  LogError("store_failed", {{"reason", status.ToString()}});
  if (absl::IsResourceExhausted(status)) return {ErrorCode::kRetryLater, ""};
  return {ErrorCode::kUnavailable,
          "the key store does not answer; try again after the given delay"};
}

void FailOne(SignCall* call, ErrorCode error) {
  call->next = nullptr;
  FailAll(call, error);
}

}  // namespace

Router::Router(Options options, KeyStore& store, Metrics& metrics, const Clock& clock)
    : options_(std::move(options)),
      store_(store),
      clock_(clock),
      ring_(MembersOf(options_.enclaves)),
      links_(MakeLinks()),
      unlock_started_(metrics.AddCounter(
          "unlock_bg_rate", "Unlocks started in the background, retries among them: use rate()")),
      unlock_total_(metrics.AddCounter("bulla_gateway_unlocks_total",
                                       "DEKs opened in an enclave by a KMS call")),
      unlock_failed_(
          metrics.AddCounter("unlock_fail_total", "Unlocks that failed; each is retried")),
      unlock_latency_(metrics.AddHistogram(
          "unlock_latency_ms", "Time of an unlock that succeeded, from its start, in ms",
          UnlockBucketsMs())),
      batch_timer_("batches", clock, [this] {
        const MonotonicTime now = clock_.Now();
        MonotonicTime next = MonotonicTime::max();
        for (const auto& link : links_) next = std::min(next, link->SendDue(now));
        return next;
      }) {}

std::vector<std::unique_ptr<EnclaveLink>> Router::MakeLinks() {
  std::vector<std::unique_ptr<EnclaveLink>> links;
  for (const Address& address : options_.enclaves) {
    links.push_back(std::make_unique<EnclaveLink>(
        EnclaveLink::Options{.address = address,
                             .index = links.size(),
                             .streams = options_.streams_per_enclave,
                             .batch = options_.batch,
                             .credentials_file = options_.credentials_file,
                             .key_policy = options_.key_policy,
                             .probe_interval = options_.probe_interval},
        *this, store_, clock_));
  }
  return links;
}

Router::~Router() { Stop(); }

void Router::Start() {
  for (auto& link : links_) link->Start();
}

void Router::Stop() {
  stopping_ = true;
  batch_timer_.Stop();
  for (auto& link : links_) link->Stop();
}

EnclaveLink* Router::LinkFor(const KeyId& key_id) const {
  std::optional<std::size_t> index =
      ring_.Find(key_id, [this](std::size_t member) { return links_[member]->ready(); });
  return index ? links_[*index].get() : nullptr;
}

void Router::Sign(SignCall* first) {
  absl::InlinedVector<CallList, 8> for_link(links_.size());
  CallList unroutable;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    call->blob_requests = 0;
    call->was_lost = false;
    EnclaveLink* link = LinkFor(call->key_id);
    (link == nullptr ? unroutable : for_link[link->index()]).Append(call);
  }
  FailAll(unroutable.first(), ErrorCode::kUnavailable);
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (!for_link[i].empty()) links_[i]->Sign(for_link[i].first());
  }
}

// Signing is deterministic, so it does no harm when the lost enclave has signed already. Once only:
// a statement that kills enclaves is not to kill them all.
void Router::OnLost(EnclaveLink& lost, SignCall* first) {
  const MonotonicTime now = clock_.Now();
  absl::InlinedVector<CallList, 8> for_link(links_.size());
  CallList given_up;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    std::optional<std::size_t> next;
    if (!stopping_ && !std::exchange(call->was_lost, true) && now < call->deadline) {
      next = ring_.Find(call->key_id, [&](std::size_t member) {
        return member != lost.index() && links_[member]->ready();
      });
    }
    (next ? for_link[*next] : given_up).Append(call);
  }
  FailAll(given_up.first(), ErrorCode::kUnavailable);
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (!for_link[i].empty()) links_[i]->Sign(for_link[i].first());
  }
}

void Router::OnNeedBlob(EnclaveLink& link, SignCall* first) {
  while (first != nullptr) SendBlob(link, PopFirst(first));
}

void Router::SendBlob(EnclaveLink& link, SignCall* call) {
  if (++call->blob_requests > kBlobRequestsMax) return FailOne(call, ErrorCode::kRetryLater);
  store_.FindKey(call->key_id, [&link, call](absl::StatusOr<std::optional<KeyRow>> row) {
    if (!row.ok()) return FailOne(call, StoreError(row.status()).code);
    if (!row->has_value() || !(*row)->enabled) return FailOne(call, ErrorCode::kInvalidKey);
    if (!link.SignWithBlob(call, std::move((*row)->blob))) FailOne(call, ErrorCode::kRetryLater);
  });
}

void Router::OnNeedDek(EnclaveLink& link, SignCall* first) {
  for (SignCall* call = first; call != nullptr; call = call->next) {
    store_.FindKey(call->key_id, [this, &link](absl::StatusOr<std::optional<KeyRow>> row) {
      if (row.ok() && row->has_value()) WantUnlock(link.index(), (*row)->dek_id);
    });
  }
  FailAll(first, ErrorCode::kUnlockRequired);
}

void Router::OnLinkReady(EnclaveLink& link) {
  {
    MutexLock lock(mutex_);
    unlocks_.Forget(link.index());
    ++dek_lists_awaited_;
  }
  store_.ListDeksInUse(kDeksOpenedAheadMax,
                       [this, &link](absl::StatusOr<std::vector<DekRow>> deks) {
                         if (deks.ok()) {
                           for (const DekRow& dek : *deks) WantUnlock(link.index(), dek.dek_id);
                         }
                         MutexLock lock(mutex_);
                         --dek_lists_awaited_;
                       });
}

// What was wanted of it is asked for anew when it is back; until then each attempt would only fail.
void Router::OnLinkLost(EnclaveLink& link) {
  MutexLock lock(mutex_);
  unlocks_.Forget(link.index());
}

// Renewing is opening: the enclave knows that what is past its soft TTL means a call to KMS.
void Router::OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) {
  for (const DekId& dek_id : deks) WantUnlock(link.index(), dek_id);
}

void Router::SetKeyPolicy(const KeyPolicy& policy) {
  for (auto& link : links_) link->SetKeyPolicy(policy);
}

void Router::Create(CreateCall call, KeyDone done) {
  if (call.idempotency_key.empty()) return MakeKey(std::move(call), std::move(done));
  std::string idempotency_key = call.idempotency_key;
  store_.FindKeyByIdempotencyKey(
      idempotency_key, [this, call = std::move(call),
                        done = std::move(done)](absl::StatusOr<std::optional<KeyRow>> row) mutable {
        if (!row.ok()) return done(StoreError(row.status()), {});
        if (row->has_value()) return done({}, **row);
        MakeKey(std::move(call), std::move(done));
      });
}

void Router::MakeKey(CreateCall call, KeyDone done) {
  KeyId key_id = KeyId::New(clock_.WallNow());
  EnclaveLink* link = LinkFor(key_id);
  if (link == nullptr) return done({ErrorCode::kUnavailable, ""}, {});
  MonotonicTime deadline = call.deadline;
  auto made = [this, link, key_id, call = std::move(call), done](ErrorCode error,
                                                                 CreateReply reply) mutable {
    if (error != ErrorCode::kOk) return done({error, ""}, {});
    StoreKey(*link, key_id, std::move(call), std::move(reply), std::move(done));
  };
  if (!link->Create(key_id, deadline, std::move(made))) done({ErrorCode::kRetryLater, ""}, {});
}

void Router::StoreKey(const EnclaveLink& link, const KeyId& key_id, CreateCall call,
                      CreateReply reply, KeyDone done) {
  DekId dek_id = reply.dek_id;
  store_.PutKey({.key_id = key_id,
                 .dek_id = dek_id,
                 .blob = std::move(reply.blob),
                 .public_key = reply.public_key,
                 .address = std::move(reply.address),
                 .created_at = clock_.WallNow(),
                 .idempotency_key = std::move(call.idempotency_key)},
                [this, &link, dek_id, done = std::move(done)](absl::StatusOr<KeyRow> row) {
                  if (!row.ok()) return done(StoreError(row.status()), {});
                  ShareDek(link, dek_id);
                  done({}, *row);
                });
}

void Router::GetKey(const KeyId& key_id, KeyDone done) {
  store_.FindKey(key_id, [done = std::move(done)](absl::StatusOr<std::optional<KeyRow>> row) {
    if (!row.ok()) return done(StoreError(row.status()), {});
    if (!row->has_value()) return done({ErrorCode::kInvalidKey, "there is no such key"}, {});
    done({}, **row);
  });
}

void Router::ShareDek(const EnclaveLink& owner, const DekId& dek_id) {
  {
    MutexLock lock(mutex_);
    if (!shared_deks_.insert(dek_id).second) return;
  }
  for (const auto& link : links_) {
    if (link.get() != &owner) WantUnlock(link->index(), dek_id);
  }
}

void Router::WantUnlock(std::size_t link, const DekId& dek_id) {
  MonotonicTime now = clock_.Now();
  {
    MutexLock lock(mutex_);
    if (!unlocks_.Want({link, dek_id}, now)) return;
  }
  StartUnlocks(now);
}

void Router::StartUnlocks(MonotonicTime now) {
  std::vector<UnlockQueue::Task> due;
  {
    MutexLock lock(mutex_);
    due = unlocks_.Start(now);
  }
  for (const UnlockQueue::Task& task : due) {
    unlock_started_.Increment();
    store_.FindDek(task.dek_id, [this, task, now](absl::StatusOr<std::optional<DekRow>> row) {
      if (!row.ok()) return FinishUnlock(task, row.status());
      if (!row->has_value()) return GiveUpUnlock(task, now);
      links_[task.link]->OpenDek(**row, [this, task, now](absl::Status status) {
        if (status.ok()) {
          unlock_latency_.Observe(Milliseconds(clock_.Now() - now).count());
        }
        FinishUnlock(task, status);
      });
    });
  }
}

void Router::FinishUnlock(const UnlockQueue::Task& task, const absl::Status& status) {
  const std::string& enclave = links_[task.link]->name();
  if (status.ok()) {
    unlock_total_.Increment();
    LogInfo("dek_opened", {{"enclave", enclave}, {"dek", task.dek_id.Short()}});
    MutexLock lock(mutex_);
    unlocks_.Succeeded(task);
    return;
  }
  unlock_failed_.Increment();
  unsigned attempts = 0;
  {
    MutexLock lock(mutex_);
    attempts = unlocks_.Failed(task, clock_.Now(), RandomUint64());
  }
  if (!std::has_single_bit(attempts)) return;  // an outage with many DEKs must not fill the log
  LogWarn("unlock_failed", {{"enclave", enclave},
                            {"dek", task.dek_id.Short()},
                            {"attempts", attempts},
                            {"reason", status.ToString()}});
}

// Rows are never deleted, so a DEK without one is of another store, or the enclave made it up:
// nothing under it is here to be signed with, and no repetition helps. An enclave that has it open
// names it again at each probe until its hard TTL; each costs one look at the store.
void Router::GiveUpUnlock(const UnlockQueue::Task& task, MonotonicTime now) {
  unlock_failed_.Increment();
  bool say = false;
  {
    MutexLock lock(mutex_);
    unlocks_.GaveUp(task);
    say = now >= missing_dek_silence_until_;
    if (say) missing_dek_silence_until_ = now + kMissingDekSilence;
  }
  if (!say) return;
  LogWarn("dek_not_in_store",
          {{"enclave", links_[task.link]->name()}, {"dek", task.dek_id.Short()}});
}

void Router::Tick(MonotonicTime now) {
  for (auto& link : links_) link->Expire(now);
  StartUnlocks(now);
}

std::size_t Router::links_ready() const {
  std::size_t ready = 0;
  for (const auto& link : links_) ready += link->ready() ? 1 : 0;
  return ready;
}

std::size_t Router::unlocks_pending() const {
  MutexLock lock(mutex_);
  return unlocks_.size();
}

bool Router::settled() const {
  MutexLock lock(mutex_);
  return dek_lists_awaited_ == 0 && unlocks_.size() == 0;
}

std::vector<EnclaveLink::Status> Router::LinkStatuses() const {
  std::vector<EnclaveLink::Status> statuses;
  for (const auto& link : links_) statuses.push_back(link->status());
  return statuses;
}

}  // namespace bulla
