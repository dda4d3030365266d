#include "enclave/service.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "crypto/process_hardening.h"
#include "enclave/session.h"

namespace bulla {
namespace {

// Unlocks run beside signing and cost 2 ms of CPU each; two at once hide KMS's round trip.
constexpr std::size_t kUnlockThreads = 2;
// The gateway's unlock queue sends fewer at once; more than that is not our gateway.
constexpr std::size_t kUnlocksQueuedMax = 64;
constexpr std::size_t kStoreIdBytesMax = 16;
constexpr auto kUnlockDeadlineMax = std::chrono::seconds(10);

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
          status.ok() ? std::string() : EncodeCause(CauseOf(status))};
}

void Describe(const SealingDek& sealing, wire::v1::SealingDek& out) {
  out.set_dek_id(sealing.id.bytes.data(), DekId::kBytes);
  out.set_wrapped(sealing.wrapped.data(), sealing.wrapped.size());
  out.set_kms_key_id(sealing.kms_key_id);
}

AwsCredentials CredentialsOf(const wire::v1::UnlockRequest& request) {
  return {request.credentials().access_key_id(), request.credentials().secret_access_key(),
          request.credentials().session_token()};
}

}  // namespace

EnclaveService::EnclaveService(Parts parts, std::string platform, std::size_t worker_count)
    : parts_(parts),
      boot_id_(BootId::New(parts.clock.WallNow())),
      platform_(std::move(platform)),
      worker_count_(static_cast<std::uint32_t>(worker_count)),
      started_(parts.clock.Now()),
      image_policy_(parts.cache.policy()),
      unlocks_("unlocks", kUnlocksQueuedMax) {
  for (std::size_t i = 0; i < kUnlockThreads; ++i) {
    unlock_threads_.push_back(StartThread(fmt::format("unlock-{}", i), [this] { RunUnlocks(); }));
  }
}

EnclaveService::~EnclaveService() {
  unlocks_.Close();
  for (std::thread& thread : unlock_threads_) thread.join();
}

grpc::ServerUnaryReactor* EnclaveService::Hello(grpc::CallbackServerContext* context,
                                                const wire::v1::HelloRequest* request,
                                                wire::v1::HelloReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (request->protocol_version() != kWireProtocolVersion) {
    reactor->Finish({grpc::StatusCode::FAILED_PRECONDITION,
                     fmt::format("the gateway speaks protocol {}, this enclave {}",
                                 request->protocol_version(), kWireProtocolVersion)});
    return reactor;
  }
  reply->set_protocol_version(kWireProtocolVersion);
  reply->set_boot_id(boot_id_.bytes.data(), BootId::kBytes);
  reply->set_platform(platform_);
  reply->set_workers(worker_count_);
  if (std::optional<SealingDek> sealing = parts_.deks.sealing(parts_.clock.Now())) {
    Describe(*sealing, *reply->mutable_sealing_dek());
  }
  {
    MutexLock lock(sealing_mutex_);
    reply->set_store_id(store_id_);
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* EnclaveService::Unlock(grpc::CallbackServerContext* context,
                                                 const wire::v1::UnlockRequest* request,
                                                 wire::v1::UnlockReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  auto left = std::min<std::chrono::system_clock::duration>(
      context->deadline() - parts_.clock.WallNow(), kUnlockDeadlineMax);
  absl::Status queued = unlocks_.Push({request, reply, reactor, parts_.clock.Now() + left});
  if (!queued.ok()) reactor->Finish(ToGrpc(queued));
  return reactor;
}

void EnclaveService::RunUnlocks() {
  if (!LockThreadStack()) LogWarn("stack_not_locked", {{"thread", "unlock"}});
  while (std::optional<UnlockCall> call = unlocks_.Pop()) {
    absl::Status status;
    switch (call->request->what_case()) {
      case wire::v1::UnlockRequest::kNewSealingDek:
        status = ObtainSealingDekBlocking(*call);
        break;
      case wire::v1::UnlockRequest::kOpen:
        status = OpenDekBlocking(*call);
        break;
      default:
        status = absl::InvalidArgumentError("unlock: neither a sealing key nor one to open");
    }
    if (!status.ok()) LogWarn("unlock_failed", {{"reason", status.ToString()}});
    call->reactor->Finish(ToGrpc(status));
  }
}

absl::Status EnclaveService::ObtainSealingDekBlocking(const UnlockCall& call) {
  {
    MutexLock lock(sealing_mutex_);
    if (obtaining_sealing_dek_) return absl::UnavailableError("a sealing key is being obtained");
    obtaining_sealing_dek_ = true;
  }
  absl::Status status = MakeSealingDekBlocking(call);
  {
    MutexLock lock(sealing_mutex_);
    obtaining_sealing_dek_ = false;
  }
  BULLA_RETURN_IF_ERROR(status);
  std::optional<SealingDek> sealing = parts_.deks.sealing(parts_.clock.Now());
  if (!sealing) return absl::UnavailableError("the sealing key has lapsed already");
  Describe(*sealing, *call.reply->mutable_sealing_dek());
  return absl::OkStatus();
}

// Nothing when there is one that will do.
absl::Status EnclaveService::MakeSealingDekBlocking(const UnlockCall& call) {
  const MonotonicTime asked_at = parts_.clock.Now();
  if (parts_.deks.sealing(asked_at)) return absl::OkStatus();
  DekId id = DekId::New(parts_.clock.WallNow());
  BULLA_ASSIGN_OR_RETURN(DataKey key, parts_.kms.GenerateDataKeyBlocking(
                                          CredentialsOf(*call.request), id, call.deadline));
  return parts_.deks.AddSealing({id, std::move(key.wrapped), std::move(key.key_id)}, key.plaintext,
                                asked_at, RandomUint64());
}

absl::Status EnclaveService::OpenDekBlocking(const UnlockCall& call) {
  const wire::v1::WrappedDek& dek = call.request->open();
  if (dek.dek_id().size() != DekId::kBytes || dek.wrapped().empty() ||
      dek.wrapped().size() > kWrappedDekBytesMax) {
    return absl::InvalidArgumentError("unlock: the data key's id or blob has the wrong length");
  }
  DekId id = DekId::FromBytes(AsBytes(dek.dek_id()));
  MonotonicTime asked_at = parts_.clock.Now();
  absl::StatusOr<std::optional<Bytes>> wrapped =
      parts_.deks.BytesForKms(id, AsBytes(dek.wrapped()), asked_at);
  if (!wrapped.ok()) return WithCause(wrapped.status(), UnlockCause::kForeignCiphertext);
  if (!wrapped->has_value()) return absl::OkStatus();
  absl::StatusOr<Secret<32>> key =
      parts_.kms.DecryptBlocking(CredentialsOf(*call.request), **wrapped, id, call.deadline);
  absl::Status status =
      key.ok() ? parts_.deks.Open(id, **wrapped, *key, asked_at, RandomUint64()) : key.status();
  if (absl::IsDataLoss(status)) status = WithCause(status, UnlockCause::kForeignCiphertext);
  if (!status.ok()) parts_.deks.RenewalFailed(id);
  return status;
}

grpc::ServerUnaryReactor* EnclaveService::SealUnder(grpc::CallbackServerContext* context,
                                                    const wire::v1::SealUnderRequest* request,
                                                    wire::v1::SealUnderReply*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (request->dek_id().size() != DekId::kBytes) {
    reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT, "dek_id: has not 16 bytes"});
    return reactor;
  }
  if (request->store_id().size() > kStoreIdBytesMax) {
    reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT, "store_id: has more than 16 bytes"});
    return reactor;
  }
  absl::Status status =
      parts_.deks.SealUnder(DekId::FromBytes(AsBytes(request->dek_id())), parts_.clock.Now());
  if (status.ok()) {
    MutexLock lock(sealing_mutex_);
    store_id_ = request->store_id();
  }
  reactor->Finish(ToGrpc(status));
  return reactor;
}

grpc::ServerUnaryReactor* EnclaveService::Configure(grpc::CallbackServerContext* context,
                                                    const wire::v1::ConfigureRequest* request,
                                                    wire::v1::ConfigureReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Status status = ApplyPolicy(request->settings(), *reply->mutable_settings());
  if (!status.ok()) LogWarn("key_policy_refused", {{"reason", std::string(status.message())}});
  reactor->Finish(ToGrpc(status));
  return reactor;
}

absl::Status EnclaveService::ApplyPolicy(const PolicySettings& wanted, PolicySettings& in_force) {
  BULLA_ASSIGN_OR_RETURN(KeyPolicy decoded, DecodeKeyPolicy(wanted));
  BULLA_ASSIGN_OR_RETURN(KeyPolicy policy, TightenKeyPolicy(image_policy_, decoded));
  MutexLock lock(policy_mutex_);
  if (policy != parts_.cache.policy()) {
    parts_.deks.SetPolicy(policy);
    parts_.cache.SetPolicy(policy);
    LogInfo("key_policy_changed", {});
  }
  EncodeKeyPolicy(policy, in_force);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* EnclaveService::KeysInUse(grpc::CallbackServerContext* context,
                                                    const wire::v1::KeysInUseRequest* request,
                                                    wire::v1::KeysInUseReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (request->part() >= KeyCache::kParts) {
    reactor->Finish(
        {grpc::StatusCode::INVALID_ARGUMENT,
         fmt::format("part: got {}, want 0 to {}", request->part(), KeyCache::kParts - 1)});
    return reactor;
  }
  reply->set_parts(KeyCache::kParts);
  for (const KeyId& id : parts_.cache.KeysInUse(request->part())) {
    reply->mutable_key_ids()->append(AsText(id.bytes));
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* EnclaveService::Forget(grpc::CallbackServerContext* context,
                                                 const wire::v1::ForgetRequest* request,
                                                 wire::v1::ForgetReply*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const ByteSpan ids = AsBytes(request->key_ids());
  if (ids.size() % KeyId::kBytes != 0 || ids.size() > kKeysToForgetMax * KeyId::kBytes) {
    reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT,
                     fmt::format("key_ids: got {} bytes, want {} for each of at most {} keys",
                                 ids.size(), KeyId::kBytes, kKeysToForgetMax)});
    return reactor;
  }
  for (std::size_t at = 0; at < ids.size(); at += KeyId::kBytes) {
    parts_.cache.Forget(KeyId::FromBytes(ids.subspan(at, KeyId::kBytes)));
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* EnclaveService::Probe(grpc::CallbackServerContext* context,
                                                const wire::v1::ProbeRequest*,
                                                wire::v1::ProbeReply* reply) {
  const MonotonicTime now = parts_.clock.Now();
  reply->set_boot_id(boot_id_.bytes.data(), BootId::kBytes);
  EncodeReport(ReportAt(now), *reply);
  reply->set_sealing_dek_wanted(parts_.deks.WantsSealing(now));
  for (const DekId& id : parts_.deks.TakeRenewals(now, kDeksToRenewMax)) {
    reply->add_deks_to_renew(id.bytes.data(), DekId::kBytes);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

// What is counted, and what is to be looked up when asked for.
EnclaveReport EnclaveService::ReportAt(MonotonicTime now) const {
  EnclaveReport report = parts_.operations.counters().Report();
  const KeyShard::Counts keys = parts_.cache.CountsAt(now);
  report.number("keys_warm") = keys.warm;
  report.number("keys_cool") = keys.cool;
  report.number("keys_invalid") = keys.invalid;
  report.number("singleflight_waiters") = keys.waiters;
  report.number("plain_keys_evicted") = keys.secrets_evicted;
  report.number("blobs_evicted") = keys.blobs_evicted;
  report.number("key_memory_bytes") = keys.memory_bytes;
  report.number("key_memory_budget_bytes") = parts_.cache.policy().memory_budget_mib << 20;
  report.number("locked_bytes") = keys.locked_bytes;
  report.number("locked_budget_bytes") = parts_.cache.locked_budget_bytes();
  report.number("deks_open") = parts_.deks.size();
  report.number("queue_depth") = parts_.workers.queue_depth();
  report.number("uptime_us") =
      static_cast<std::uint64_t>((now - started_) / std::chrono::microseconds(1));
  report.number("workers") = worker_count_;
  return report;
}

grpc::ServerBidiReactor<wire::v1::RequestFrame, wire::v1::ReplyFrame>* EnclaveService::Session(
    grpc::CallbackServerContext*) {
  return new bulla::Session(parts_.workers, parts_.operations.counters(), parts_.clock);
}

}  // namespace bulla
