#include "enclave/key_operations.h"

#include <utility>

#include "base/log.h"
#include "crypto/address.h"
#include "crypto/key_generation.h"
#include "kms/sealed_key.h"

namespace bulla {

KeyOperations::KeyOperations(const Signer& signer, KeyCache& cache, DekTable& deks,
                             EntropySource entropy, const Clock& clock)
    : signer_(signer), cache_(cache), deks_(deks), entropy_(std::move(entropy)), clock_(clock) {}

void KeyOperations::SignBatch(std::span<const SignItem> items, MonotonicTime received,
                              std::vector<SignReply>& replies) {
  for (const SignItem& item : items) {
    MonotonicTime now = clock_.Now();
    if (now >= received + std::chrono::microseconds(item.budget_us)) {
      replies.push_back({.sequence = item.sequence, .status = ItemStatus::kExpired});
    } else {
      replies.push_back(SignOne(item, now));
    }
  }
}

SignReply KeyOperations::SignOne(const SignItem& item, MonotonicTime now) {
  SignReply reply{.sequence = item.sequence, .status = ItemStatus::kFault};
  std::optional<WarmKey> key = cache_.TakeUse(item.key_id, now);
  if (!key) key = Rehydrate(item.key_id, now, reply.status);
  if (!key) return reply;
  if (!signer_.Sign(key->secret, key->point, item.digest, &reply.signature)) {
    LogError("signature_fault", {{"key", item.key_id.Short()}});
    return reply;
  }
  signatures_.fetch_add(1, std::memory_order_relaxed);
  reply.status = ItemStatus::kOk;
  return reply;
}

std::optional<WarmKey> KeyOperations::Rehydrate(const KeyId& id, MonotonicTime now,
                                                ItemStatus& status) {
  Bytes blob = cache_.Blob(id);
  if (blob.empty()) {
    status = ItemStatus::kNeedBlob;
    return std::nullopt;
  }
  absl::StatusOr<SealedKeyHeader> header = ParseSealedKey(blob);
  std::shared_ptr<const OpenDek> dek = header.ok() ? deks_.Find(header->dek_id) : nullptr;
  if (dek == nullptr) {
    status = header.ok() ? ItemStatus::kNeedDek : ItemStatus::kRefused;
    return std::nullopt;
  }
  absl::StatusOr<OpenedKey> opened = OpenSealedKey(dek->key, blob, id, signer_);
  if (!opened.ok()) {
    LogError("sealed_key_refused", {{"key", id.Short()}, {"reason", opened.status().ToString()}});
    status = ItemStatus::kRefused;
    return std::nullopt;
  }
  cache_.PutWarm(id, std::move(blob), opened->key, opened->point, now);
  rehydrations_.fetch_add(1, std::memory_order_relaxed);
  return cache_.TakeUse(id, now);
}

CreateReply KeyOperations::Create(const CreateItem& item) {
  CreateReply reply{.sequence = item.sequence, .status = ItemStatus::kFault};
  std::optional<SealingDek> sealing = deks_.TakeSeal();
  if (!sealing) {
    reply.status = ItemStatus::kNoSealingDek;
    return reply;
  }
  absl::StatusOr<Bytes> entropy = entropy_();
  if (!entropy.ok()) {
    LogError("entropy_source_failed", {{"reason", entropy.status().ToString()}});
    return reply;
  }
  absl::StatusOr<Secret<32>> secret = GenerateSecretKey(signer_, *entropy);
  Wipe(*entropy);
  if (!secret.ok()) return reply;
  absl::StatusOr<PublicPoint> point = signer_.DerivePublic(*secret);
  if (!point.ok()) return reply;
  PublicKey33 public_key = signer_.Compress(*point);
  absl::StatusOr<Address20> address = AddressOf(public_key);
  absl::StatusOr<Bytes> blob =
      SealKey(sealing->dek->key, {item.key_id, sealing->dek->id, public_key}, *secret);
  if (!address.ok() || !blob.ok()) return reply;

  cache_.PutWarm(item.key_id, *blob, *secret, *point, clock_.Now());
  keys_created_.fetch_add(1, std::memory_order_relaxed);
  reply.status = ItemStatus::kOk;
  reply.dek_id = sealing->dek->id;
  reply.blob = *std::move(blob);
  reply.public_key = public_key;
  reply.address = ToEip55(*address);
  return reply;
}

bool KeyOperations::Load(Bytes blob) {
  absl::StatusOr<SealedKeyHeader> header = ParseSealedKey(blob);
  if (!header.ok()) return false;
  cache_.PutBlob(header->key_id, std::move(blob));
  return true;
}

KeyOperations::Counts KeyOperations::counts() const {
  return {signatures_.load(std::memory_order_relaxed),
          keys_created_.load(std::memory_order_relaxed),
          rehydrations_.load(std::memory_order_relaxed)};
}

}  // namespace bulla
