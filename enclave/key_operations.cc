#include "enclave/key_operations.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"
#include "enclave/new_key.h"
#include "kms/sealed_key.h"

namespace bulla {

KeyOperations::KeyOperations(const Signer& signer, KeyCache& cache, DekTable& deks,
                             EntropySource entropy, const Clock& clock)
    : signer_(signer), cache_(cache), deks_(deks), entropy_(std::move(entropy)), clock_(clock) {}

void KeyOperations::SignBatch(std::span<const SignItem> items, MonotonicTime received,
                              const std::shared_ptr<ReplySink>& sink,
                              std::vector<SignReply>& replies, std::vector<Opening>& openings) {
  std::array<KeyLease, Signer::kBatchMax> leases;
  std::array<SigningJob, Signer::kBatchMax> jobs;
  std::array<const SignItem*, Signer::kBatchMax> leased;
  std::size_t count = 0;
  const auto sign = [&] {
    SignJobs(std::span(leased).first(count), std::span(jobs).first(count), replies);
    count = 0;
  };
  for (const SignItem& item : items) {
    const MonotonicTime now = clock_.Now();
    const MonotonicTime expires = received + std::chrono::microseconds(item.budget_us);
    if (now >= expires) {
      replies.push_back(Refusal(item, ItemStatus::kExpired));
      continue;
    }
    const auto make_task = [&] {
      return SignTask{item, expires, now + cache_.policy().sign_wait_budget, sink};
    };
    std::optional<SignReply> refused;
    KeyLease& lease = leases[count];
    if (!Acquire(item, now, make_task, lease, openings, refused)) {
      if (refused) replies.push_back(*refused);
      continue;
    }
    leased[count] = &item;
    jobs[count] = {.key = &lease.secret, .point = &lease.point, .digest = &item.digest};
    if (++count == jobs.size()) sign();
  }
  sign();
}

std::optional<SignReply> KeyOperations::Resume(const SignTask& task,
                                               std::vector<Opening>& openings) {
  const MonotonicTime now = clock_.Now();
  if (now >= task.expires) return Refusal(task.item, ItemStatus::kExpired);
  // Where it waits again (a key with so few uses that others have spent them meanwhile), it is for
  // what is left of its time, be it nothing.
  KeyLease lease;
  std::optional<SignReply> refused;
  if (!Acquire(
          task.item, now, [&] { return task; }, lease, openings, refused))
    return refused;
  const SignItem* const item = &task.item;
  SigningJob job{.key = &lease.secret, .point = &lease.point, .digest = &item->digest};
  std::vector<SignReply> replies;
  SignJobs({&item, 1}, {&job, 1}, replies);
  return replies.front();
}

bool KeyOperations::Acquire(const SignItem& item, MonotonicTime now,
                            absl::FunctionRef<SignTask()> make_task, KeyLease& lease,
                            std::vector<Opening>& openings, std::optional<SignReply>& reply) {
  KeyCache::Answer answer = cache_.Sign(item.key_id, now, lease, make_task);
  switch (answer.verdict) {
    case KeyCache::Verdict::kGrantedAndLeading:
      openings.push_back({item.key_id, /*refresh=*/true});
      [[fallthrough]];
    case KeyCache::Verdict::kGranted:
      return true;
    case KeyCache::Verdict::kLeading:
      openings.push_back({item.key_id, /*refresh=*/false});
      [[fallthrough]];
    case KeyCache::Verdict::kWaiting:
      on_waiting_();
      return false;
    case KeyCache::Verdict::kRefused:
      break;
  }
  reply = Refusal(item, answer.status);
  return false;
}

void KeyOperations::SignJobs(std::span<const SignItem* const> items, std::span<SigningJob> jobs,
                             std::vector<SignReply>& replies) {
  signer_.SignBatch(jobs);
  std::uint64_t signed_count = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const SignItem& item = *items[i];
    if (!jobs[i].is_signed) {
      LogError("signature_fault", {{"key", item.key_id.Short()}});
      replies.push_back(Refusal(item, ItemStatus::kFault));
      continue;
    }
    ++signed_count;
    replies.push_back(
        {.sequence = item.sequence, .status = ItemStatus::kOk, .signature = jobs[i].signature});
  }
  counters_.Increment("signatures", signed_count);
}

SignReply KeyOperations::Refusal(const SignItem& item, ItemStatus status) {
  if (status == ItemStatus::kNeedDek || status == ItemStatus::kRehydrateTimeout) {
    counters_.Increment("hard_expired_rejections");
  }
  return {.sequence = item.sequence, .status = status};
}

KeyCache::Released KeyOperations::Open(const Opening& opening) {
  const KeyId& id = opening.key_id;
  const MonotonicTime began = clock_.Now();
  SealedBlob blob;
  if (!cache_.BlobOf(id, blob)) return OpenFailed(opening, ItemStatus::kNeedBlob);
  std::optional<DekLease> dek = deks_.Acquire(ParseSealedKey(blob)->dek_id, began);
  if (!dek) return OpenFailed(opening, ItemStatus::kNeedDek);
  absl::StatusOr<OpenedKey> opened = OpenSealedKey(dek->key, blob, id, signer_);
  if (!opened.ok()) {
    LogError("sealed_key_refused", {{"key", id.Short()}, {"reason", opened.status().ToString()}});
    return OpenFailed(opening, ItemStatus::kRefused);
  }
  KeyCache::Released released = cache_.CompleteFlight(
      id, {std::move(opened->key), opened->point, std::move(dek->validity)}, clock_.Now());
  counters_.Increment("rehydrations");
  if (opening.refresh) counters_.Increment("refreshes");
  counters_.histogram("rehydrate_latency_ms")
      .Record(std::chrono::duration<double, std::milli>(clock_.Now() - began).count());
  return released;
}

KeyCache::Released KeyOperations::OpenFailed(const Opening& opening, ItemStatus status) {
  counters_.Increment("rehydrations_failed");
  return cache_.LandFailed(opening.key_id, status, clock_.Now());
}

bool KeyOperations::Advance() {
  const MonotonicTime now = clock_.Now();
  deks_.Advance(now);
  for (const SignTask& task : cache_.Advance(now)) {
    bool expired = now >= task.expires;
    task.Answer(Refusal(task.item, expired ? ItemStatus::kExpired : ItemStatus::kRehydrateTimeout));
  }
  return cache_.waiting();
}

CreateReply KeyOperations::Create(const CreateItem& item) {
  CreateReply reply{.sequence = item.sequence, .status = ItemStatus::kFault};
  std::optional<DekLease> sealing = deks_.AcquireToSeal(clock_.Now());
  if (!sealing) {
    reply.status = ItemStatus::kNoSealingDek;
    return reply;
  }
  absl::StatusOr<Bytes> entropy = entropy_();
  if (!entropy.ok()) {
    LogError("entropy_source_failed", {{"reason", entropy.status().ToString()}});
    return reply;
  }
  absl::StatusOr<NewKey> key = MakeKey(signer_, *sealing, item.key_id, *entropy);
  Wipe(*entropy);
  // The table's own copy, not the one that has sealed: a fault in that would seal for nobody.
  std::optional<DekLease> dek = deks_.Acquire(sealing->id, clock_.Now());
  absl::StatusOr<OpenedKey> opened = absl::FailedPreconditionError("its DEK has lapsed");
  if (!key.ok()) {
    opened = key.status();
  } else if (dek) {
    opened = CheckNewKey(signer_, *dek, item.key_id, *key);
  }
  if (!opened.ok()) {
    LogError("new_key_refused",
             {{"key", item.key_id.Short()}, {"reason", opened.status().ToString()}});
    return reply;
  }
  if (!cache_.InsertWarm(key->header, key->blob,
                         {std::move(opened->key), opened->point, std::move(dek->validity)},
                         clock_.Now())) {
    reply.status = ItemStatus::kBusy;
    return reply;
  }
  counters_.Increment("keys_created");
  reply.status = ItemStatus::kOk;
  reply.dek_id = key->header.dek_id;
  reply.blob.assign(key->blob.begin(), key->blob.end());
  reply.public_key = key->header.public_key;
  reply.address = std::move(key->address);
  return reply;
}

bool KeyOperations::Load(ByteSpan blob) {
  absl::StatusOr<SealedKeyHeader> header = ParseSealedKey(blob);
  if (!header.ok()) return false;
  SealedBlob copy;
  std::ranges::copy(blob, copy.begin());
  cache_.Load(*header, copy, clock_.Now());
  return true;
}

}  // namespace bulla
