#include "gateway/keys/key_service.h"

#include <fmt/format.h>
#include <memory>
#include <utility>

#include "gateway/call/refusal.h"
#include "gateway/call/store_errors.h"

namespace bulla {
namespace {

// KMS is asked again after a minute at most where it refused for good.
constexpr std::uint32_t kRefusedRetryMinMs = 30'000;

// What of a request decides what is made: the call, and the version of its meaning. A parameter of
// `create` that changes the key goes in here too, or a repeat with another value gets the key of
// the first. Also known to the step of the store's schema that took over what older programs kept.
std::string FingerprintOf(const CreateCall&) { return "create/1"; }

std::optional<Idempotency> IdempotencyOf(const CreateCall& call) {
  if (call.idempotency_key.empty()) return std::nullopt;
  return Idempotency{.scope = "", .key = call.idempotency_key, .fingerprint = FingerprintOf(call)};
}

Error OfAnotherRequest(const std::string& idempotency_key) {
  return InvalidArgument(fmt::format(
      "Idempotency-Key: {} belongs to another request, want a key of its own for each request, and "
      "the same one only to repeat it; nothing was made",
      Quoted(idempotency_key)));
}

}  // namespace

void KeyService::Sign(SignCall* first) { data_plane_.router().Sign(first); }

void KeyService::Create(CreateCall call, KeyDone done) {
  const std::optional<Idempotency> idempotency = IdempotencyOf(call);
  if (!idempotency) return MakeKey(std::move(call), std::move(done), false);
  store_.FindKeyByIdempotency(*idempotency, [this, call = std::move(call), done = std::move(done)](
                                                absl::StatusOr<std::optional<KeyRow>> row) mutable {
    if (absl::IsAlreadyExists(row.status())) {
      return done(OfAnotherRequest(call.idempotency_key), {});
    }
    if (!row.ok()) return done(StoreError(row.status()), {});
    if (row->has_value()) return done({}, **row);
    MakeKey(std::move(call), std::move(done), false);
  });
}

// One that is lost with its enclave is made again under another id: nobody has heard of the first.
void KeyService::MakeKey(CreateCall call, KeyDone done, bool again) {
  if (const StoreFault fault = store_.fault(); fault != StoreFault::kNone) {
    return done(CannotStore(fault), {});  // no enclave's work for what cannot be kept
  }
  const KeyId key_id = KeyId::New(clock_.WallNow());
  const std::shared_ptr<const Fleet::Table> table = data_plane_.fleet().table();
  const MonotonicTime deadline = call.deadline;
  auto maker = std::make_shared<std::uint32_t>();  // the enclave's id
  EnclaveStream::CreateDone made = [this, maker, key_id, again, call = std::move(call), done](
                                       ErrorCode error, CreateReply reply) mutable {
    if (error == ErrorCode::kUnavailable && !again && clock_.Now() < call.deadline &&
        data_plane_.retry_budget().TryWithdraw()) {
      return MakeKey(std::move(call), std::move(done), true);
    }
    if (error != ErrorCode::kOk) return done(CannotMakeKeys(error), {});
    StoreKey(*maker, key_id, std::move(call), std::move(reply), std::move(done));
  };
  ErrorCode otherwise = ErrorCode::kUnavailable;
  const std::optional<std::size_t> member = table->ring.Find(key_id, [&](std::size_t index) {
    const Fleet::Member& candidate = *table->members[index];
    if (!candidate.available()) return false;
    otherwise = ErrorCode::kRetryLater;
    *maker = candidate.id();
    return candidate.link()->pool().Create(key_id, deadline, made);
  });
  if (!member) done(CannotMakeKeys(otherwise), {});
}

Error KeyService::CannotMakeKeys(ErrorCode code) const {
  if (code != ErrorCode::kUnavailable) return {code, ""};
  std::string refused;
  for (const Fleet::Status& enclave : data_plane_.fleet().statuses()) {
    if (enclave.link.sealing_refused.empty()) return {code, ""};
    refused = enclave.link.sealing_refused;
  }
  if (refused.empty()) return {code, ""};
  return {code,
          fmt::format("no key can be made: KMS refuses every enclave a data key to seal it under "
                      "({})",
                      refused),
          kRefusedRetryMinMs};
}

void KeyService::StoreKey(std::uint32_t enclave, const KeyId& key_id, CreateCall call,
                          CreateReply reply, KeyDone done) {
  DekId dek_id = reply.dek_id;
  std::optional<Idempotency> idempotency = IdempotencyOf(call);
  store_.PutKey({.key_id = key_id,
                 .dek_id = dek_id,
                 .blob = std::move(reply.blob),
                 .public_key = reply.public_key,
                 .address = std::move(reply.address),
                 .created_at = clock_.WallNow()},
                std::move(idempotency),
                [this, enclave, dek_id, call = std::move(call),
                 done = std::move(done)](absl::StatusOr<KeyRow> row) {
                  if (absl::IsAlreadyExists(row.status())) {
                    return done(OfAnotherRequest(call.idempotency_key), {});
                  }
                  if (!row.ok()) return done(StoreWriteError(store_, row.status()), {});
                  data_plane_.unlocker().Share(enclave, dek_id);
                  done({}, *row);
                });
}

void KeyService::GetKey(GetKeyCall call, KeyDone done) {
  store_.FindKey(call.key_id, [done = std::move(done)](absl::StatusOr<std::optional<KeyRow>> row) {
    if (!row.ok()) return done(StoreError(row.status()), {});
    if (!row->has_value()) return done({ErrorCode::kInvalidKey, "there is no such key"}, {});
    done({}, **row);
  });
}

}  // namespace bulla
