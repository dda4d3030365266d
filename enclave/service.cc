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

http2::GrpcStatus ToGrpc(const absl::Status& status) {
  return {status.code(), std::string(status.message()),
          status.ok() ? std::string() : EncodeCause(CauseOf(status))};
}

template <typename Request>
bool Parse(ByteSpan message, Request& request) {
  return request.ParseFromArray(message.data(), static_cast<int>(message.size()));
}

// What a call is answered with.
template <typename Reply>
void Answer(http2::GrpcServer& server, http2::StreamId stream, const absl::Status& status,
            const Reply& reply) {
  if (!status.ok()) return server.Finish(stream, ToGrpc(status));
  server.Answer(stream, AsBytes(reply.SerializeAsString()));
}

std::string PathOf(std::string_view method) {
  return fmt::format("/bulla.wire.v1.Enclave/{}", method);
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

template <typename Request, typename Reply>
void EnclaveService::AddUnary(http2::GrpcMethods& methods, const char* name,
                              absl::Status (EnclaveService::*method)(const Request&, Reply&)) {
  methods.AddUnary(PathOf(name), [this, method](http2::GrpcServer& server,
                                                const http2::GrpcRequest& call, ByteSpan message) {
    Request request;
    Reply reply;
    const absl::Status status = Parse(message, request)
                                    ? (this->*method)(request, reply)
                                    : absl::InvalidArgumentError("the request is no protobuf");
    Answer(server, call.stream, status, reply);
  });
}

void EnclaveService::AddTo(http2::GrpcMethods& methods) {
  AddUnary(methods, "Hello", &EnclaveService::Hello);
  AddUnary(methods, "SealUnder", &EnclaveService::SealUnder);
  AddUnary(methods, "Configure", &EnclaveService::Configure);
  AddUnary(methods, "KeysInUse", &EnclaveService::KeysInUse);
  AddUnary(methods, "Forget", &EnclaveService::Forget);
  AddUnary(methods, "Probe", &EnclaveService::Probe);
  methods.AddUnary(PathOf("Unlock"),
                   [this](http2::GrpcServer& server, const http2::GrpcRequest& call,
                          ByteSpan message) { Unlock(server, call, message); });
  methods.AddStream(PathOf("Session"),
                    [this](http2::GrpcServer& server, const http2::GrpcRequest& call) {
                      return std::make_unique<Session>(parts_.workers, parts_.operations.counters(),
                                                       parts_.clock, server, call.stream);
                    });
}

absl::Status EnclaveService::Hello(const wire::v1::HelloRequest& request,
                                   wire::v1::HelloReply& reply) {
  if (request.protocol_version() != kWireProtocolVersion) {
    return absl::FailedPreconditionError(
        fmt::format("the gateway speaks protocol {}, this enclave {}", request.protocol_version(),
                    kWireProtocolVersion));
  }
  reply.set_protocol_version(kWireProtocolVersion);
  reply.set_boot_id(boot_id_.bytes.data(), BootId::kBytes);
  reply.set_platform(platform_);
  reply.set_workers(worker_count_);
  if (std::optional<SealingDek> sealing = parts_.deks.sealing(parts_.clock.Now())) {
    Describe(*sealing, *reply.mutable_sealing_dek());
  }
  MutexLock lock(sealing_mutex_);
  reply.set_store_id(store_id_);
  return absl::OkStatus();
}

void EnclaveService::Unlock(http2::GrpcServer& server, const http2::GrpcRequest& call,
                            ByteSpan message) {
  const MonotonicTime latest = parts_.clock.Now() + kUnlockDeadlineMax;
  UnlockCall unlock{.request = {},
                    .answer = server.later(),
                    .stream = call.stream,
                    .deadline = std::min(call.deadline, latest)};
  absl::Status queued = Parse(message, unlock.request)
                            ? unlocks_.Push(std::move(unlock))
                            : absl::InvalidArgumentError("the request is no protobuf");
  if (!queued.ok()) server.Finish(call.stream, ToGrpc(queued));
}

void EnclaveService::RunUnlocks() {
  if (!LockThreadStack()) LogWarn("stack_not_locked", {{"thread", "unlock"}});
  while (std::optional<UnlockCall> call = unlocks_.Pop()) {
    wire::v1::UnlockReply reply;
    const absl::Status status = RunUnlockBlocking(*call, reply);
    if (!status.ok()) LogWarn("unlock_failed", {{"reason", status.ToString()}});
    call->answer([stream = call->stream, status, reply](http2::GrpcServer& server) {
      Answer(server, stream, status, reply);
    });
  }
}

absl::Status EnclaveService::RunUnlockBlocking(const UnlockCall& call,
                                               wire::v1::UnlockReply& reply) {
  switch (call.request.what_case()) {
    case wire::v1::UnlockRequest::kNewSealingDek:
      return ObtainSealingDekBlocking(call, reply);
    case wire::v1::UnlockRequest::kOpen:
      return OpenDekBlocking(call);
    default:
      return absl::InvalidArgumentError("unlock: neither a sealing key nor one to open");
  }
}

absl::Status EnclaveService::ObtainSealingDekBlocking(const UnlockCall& call,
                                                      wire::v1::UnlockReply& reply) {
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
  Describe(*sealing, *reply.mutable_sealing_dek());
  return absl::OkStatus();
}

// Nothing when there is one that will do.
absl::Status EnclaveService::MakeSealingDekBlocking(const UnlockCall& call) {
  const MonotonicTime asked_at = parts_.clock.Now();
  if (parts_.deks.sealing(asked_at)) return absl::OkStatus();
  DekId id = DekId::New(parts_.clock.WallNow());
  BULLA_ASSIGN_OR_RETURN(DataKey key, parts_.kms.GenerateDataKeyBlocking(
                                          CredentialsOf(call.request), id, call.deadline));
  return parts_.deks.AddSealing({id, std::move(key.wrapped), std::move(key.key_id)}, key.plaintext,
                                asked_at, RandomUint64());
}

absl::Status EnclaveService::OpenDekBlocking(const UnlockCall& call) {
  const wire::v1::WrappedDek& dek = call.request.open();
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
      parts_.kms.DecryptBlocking(CredentialsOf(call.request), **wrapped, id, call.deadline);
  absl::Status status =
      key.ok() ? parts_.deks.Open(id, **wrapped, *key, asked_at, RandomUint64()) : key.status();
  if (absl::IsDataLoss(status)) status = WithCause(status, UnlockCause::kForeignCiphertext);
  if (!status.ok()) parts_.deks.RenewalFailed(id);
  return status;
}

absl::Status EnclaveService::SealUnder(const wire::v1::SealUnderRequest& request,
                                       wire::v1::SealUnderReply&) {
  if (request.dek_id().size() != DekId::kBytes) {
    return absl::InvalidArgumentError("dek_id: has not 16 bytes");
  }
  if (request.store_id().size() > kStoreIdBytesMax) {
    return absl::InvalidArgumentError("store_id: has more than 16 bytes");
  }
  BULLA_RETURN_IF_ERROR(
      parts_.deks.SealUnder(DekId::FromBytes(AsBytes(request.dek_id())), parts_.clock.Now()));
  MutexLock lock(sealing_mutex_);
  store_id_ = request.store_id();
  return absl::OkStatus();
}

absl::Status EnclaveService::Configure(const wire::v1::ConfigureRequest& request,
                                       wire::v1::ConfigureReply& reply) {
  absl::Status status = ApplyPolicy(request.settings(), *reply.mutable_settings());
  if (!status.ok()) LogWarn("key_policy_refused", {{"reason", std::string(status.message())}});
  return status;
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

absl::Status EnclaveService::KeysInUse(const wire::v1::KeysInUseRequest& request,
                                       wire::v1::KeysInUseReply& reply) {
  if (request.part() >= KeyCache::kParts) {
    return absl::InvalidArgumentError(
        fmt::format("part: got {}, want 0 to {}", request.part(), KeyCache::kParts - 1));
  }
  reply.set_parts(KeyCache::kParts);
  for (const KeyId& id : parts_.cache.KeysInUse(request.part())) {
    reply.mutable_key_ids()->append(AsText(id.bytes));
  }
  return absl::OkStatus();
}

absl::Status EnclaveService::Forget(const wire::v1::ForgetRequest& request,
                                    wire::v1::ForgetReply&) {
  const ByteSpan ids = AsBytes(request.key_ids());
  if (ids.size() % KeyId::kBytes != 0 || ids.size() > kKeysToForgetMax * KeyId::kBytes) {
    return absl::InvalidArgumentError(
        fmt::format("key_ids: got {} bytes, want {} for each of at most {} keys", ids.size(),
                    KeyId::kBytes, kKeysToForgetMax));
  }
  for (std::size_t at = 0; at < ids.size(); at += KeyId::kBytes) {
    parts_.cache.Forget(KeyId::FromBytes(ids.subspan(at, KeyId::kBytes)));
  }
  return absl::OkStatus();
}

absl::Status EnclaveService::Probe(const wire::v1::ProbeRequest&, wire::v1::ProbeReply& reply) {
  const MonotonicTime now = parts_.clock.Now();
  reply.set_boot_id(boot_id_.bytes.data(), BootId::kBytes);
  EncodeReport(ReportAt(now), reply);
  reply.set_sealing_dek_wanted(parts_.deks.WantsSealing(now));
  for (const DekId& id : parts_.deks.TakeRenewals(now, kDeksToRenewMax)) {
    reply.add_deks_to_renew(id.bytes.data(), DekId::kBytes);
  }
  return absl::OkStatus();
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

}  // namespace bulla
