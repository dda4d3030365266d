#include "gateway/link/enclave_link.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <future>
#include <utility>

#include "base/await.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "gateway/link/credentials.h"
#include "gateway/link/grpc_transport.h"
#include "gateway/link/unlock_backoff.h"
#include "wire/grpc_callbacks.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kHelloTimeout{2000};
constexpr milliseconds kUnlockTimeout{10'000};  // KMS's own connect timeout is 3 s
constexpr milliseconds kStoreTimeout{10'000};
constexpr milliseconds kProbeTimeout{2000};
constexpr milliseconds kConfigureTimeout{2000};
constexpr milliseconds kSealUnderTimeout{2000};
constexpr milliseconds kForgetTimeout{2000};
constexpr milliseconds kKeysInUseTimeout{2000};
constexpr std::uint32_t kPartsMax = 4096;
constexpr milliseconds kReconnectMin{10};
// Spec S2: a lost connection is back in 200 ms. So where nobody listens, or the connection breaks,
// the longest wait between two tries is below that: trying costs next to nothing.
constexpr milliseconds kReconnectMax{100};
// Somebody is there and cannot go on yet: KMS or the store is away. Each try is work for them.
constexpr milliseconds kNotReadyMax{1000};
// Somebody is there who speaks another protocol: a human has to come.
constexpr milliseconds kStrangerMax{5000};
// KMS refuses the enclave a DEK to seal under, and will until somebody changes something there.
constexpr milliseconds kRefusedMax{60'000};
// Streams that break as soon as they are opened are not opened as fast as they break.
constexpr milliseconds kReopenPause{20};

absl::Status FromGrpc(std::string_view what, const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status failed(static_cast<absl::StatusCode>(status.error_code()),
                      fmt::format("{}: {}", what, ShownText(status.error_message())));
  if (status.error_details().empty()) return failed;
  return WithCause(std::move(failed), DecodeCause(status.error_details()));
}

// Whether the call came to the enclave's code at all, whatever that then said.
bool IsAnswer(const grpc::Status& status) {
  return status.error_code() != grpc::StatusCode::UNAVAILABLE &&
         status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED &&
         status.error_code() != grpc::StatusCode::CANCELLED;
}

void SetDeadline(grpc::ClientContext& context, milliseconds timeout) {
  context.set_deadline(RealClock().WallNow() + timeout);
}

// The credentials that are in the file now.
absl::Status AddCredentials(const std::string& credentials_file, wire::v1::UnlockRequest& request) {
  absl::StatusOr<AwsCredentials> credentials = ReadCredentials(credentials_file);
  if (!credentials.ok()) return WithCause(credentials.status(), UnlockCause::kCredentials);
  request.mutable_credentials()->set_access_key_id(credentials->access_key_id);
  request.mutable_credentials()->set_secret_access_key(credentials->secret_access_key);
  request.mutable_credentials()->set_session_token(credentials->session_token);
  return absl::OkStatus();
}

// No key is made under a DEK before its row is durable: the enclave is told to seal under it when
// it is, and not before.
absl::StatusOr<DekRow> RowOf(const wire::v1::SealingDek& dek, WallTime now) {
  if (dek.dek_id().size() != DekId::kBytes || dek.wrapped().empty()) {
    return absl::InvalidArgumentError("sealing key: the enclave sent none");
  }
  return DekRow{.dek_id = DekId::FromBytes(AsBytes(dek.dek_id())),
                .wrapped = Bytes(dek.wrapped().begin(), dek.wrapped().end()),
                .kms_key_id = dek.kms_key_id(),
                .created_at = now};
}

milliseconds LongestWait(const absl::Status& failure) {
  if (IsFinal(CauseOf(failure))) return kRefusedMax;
  if (absl::IsUnavailable(failure) || absl::IsCancelled(failure)) return kReconnectMax;
  return absl::IsFailedPrecondition(failure) ? kStrangerMax : kNotReadyMax;
}

// Exponential up to what befits the failure, with a jitter of half of it.
milliseconds Backoff(int attempt, const absl::Status& failure) {
  auto step = std::min(kReconnectMin * (1 << std::min(attempt, 13)), LongestWait(failure));
  return step / 2 + milliseconds(RandomUint64() % static_cast<std::uint64_t>(step.count() / 2 + 1));
}

}  // namespace

EnclaveLink::EnclaveLink(Options options, LinkEvents& events, KeyStore& store,
                         const DisabledKeys& disabled, PoolMetrics& pool_metrics,
                         const Clock& clock)
    : options_(std::move(options)),
      events_(events),
      store_(store),
      clock_(clock),
      pool_(
          options_.pool, *this, events, [this] { OnMissing(); }, pool_metrics, clock),
      forgetting_(disabled),
      key_policy_(options_.key_policy) {
  status_.id = id();
  status_.address = name();
  KeepGrpcCallbackThreads();
}

EnclaveLink::~EnclaveLink() { Stop(); }

void EnclaveLink::Start() {
  thread_ = StartThread(fmt::format("link-{}", options_.id), [this] { Run(); });
}

void EnclaveLink::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
  pool_.FailGathered();
}

void EnclaveLink::Retire() {
  MutexLock lock(mutex_);
  stopping_ = true;
  retiring_ = true;
  changed_.NotifyAll();
}

void EnclaveLink::Run() {
  for (int attempt = 0; !stopping();) {
    absl::Status lost = ConnectBlocking();
    if (lost.ok()) {
      attempt = 0;
      events_.OnLinkConnected(*this);
      connected_.store(true, std::memory_order_release);
      LogInfo("enclave_ready", {{"enclave", name()}});
      lost = SuperviseBlocking();
      if (retiring()) AwaitAnswersBlocking();
    }
    Disconnect();
    events_.OnLinkLost(*this);
    if (stopping()) break;
    if (attempt == 0) LogWarn("enclave_lost", {{"enclave", name()}, {"reason", lost.ToString()}});
    {
      MutexLock lock(mutex_);
      status_.last_error = lost.ToString();
      ++status_.reconnects;
    }
    WaitFor(Backoff(attempt++, lost));
  }
  pool_.FailGathered();
  retired_.store(true, std::memory_order_release);
}

absl::Status EnclaveLink::ConnectBlocking() {
  BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                         DialChannelBlocking(options_.address));
  {
    MutexLock lock(mutex_);
    control_ = wire::v1::Enclave::NewStub(channel);
  }
  BULLA_ASSIGN_OR_RETURN(wire::v1::HelloReply hello, HelloBlocking());
  BULLA_RETURN_IF_ERROR(CheckStore(hello));
  BULLA_RETURN_IF_ERROR(ConfigureBlocking());
  if (!hello.has_sealing_dek()) {
    absl::StatusOr<wire::v1::SealingDek> obtained = ObtainSealingDekBlocking();
    if (!obtained.ok()) SealingDekFailed(obtained.status());
    BULLA_ASSIGN_OR_RETURN(*hello.mutable_sealing_dek(), std::move(obtained));
  }
  BULLA_ASSIGN_OR_RETURN(DekId sealing_dek, StoreSealingDekBlocking(hello.sealing_dek()));
  BULLA_RETURN_IF_ERROR(SealUnderBlocking(sealing_dek));
  forgetting_.Begin();
  return OpenStreamsBlocking();
}

absl::StatusOr<wire::v1::HelloReply> EnclaveLink::HelloBlocking() {
  grpc::ClientContext context;
  SetDeadline(context, kHelloTimeout);
  wire::v1::HelloRequest request;
  wire::v1::HelloReply reply;
  request.set_protocol_version(kWireProtocolVersion);
  BULLA_RETURN_IF_ERROR(FromGrpc("hello", control()->Hello(&context, request, &reply)));
  if (reply.protocol_version() != kWireProtocolVersion ||
      reply.boot_id().size() != BootId::kBytes) {
    return absl::FailedPreconditionError("hello: the enclave answers in another protocol");
  }
  // What it says of itself earns it nothing: the gateway's configuration says who is an enclave.
  if (reply.platform() != options_.platform) {
    return absl::FailedPreconditionError(
        fmt::format("hello: the enclave runs on platform \"{}\", this gateway on {}",
                    ShownText(reply.platform()), options_.platform));
  }
  MutexLock lock(mutex_);
  status_.boot_id = BootId::FromBytes(AsBytes(reply.boot_id())).ToString();
  status_.platform = ShownText(reply.platform());
  return reply;
}

// What comes to an enclave comes from the store of the gateway that had it seal. So with another
// store, one that is new in the place of one that is gone among them, its keys are not here.
absl::Status EnclaveLink::CheckStore(const wire::v1::HelloReply& hello) {
  const StoreId ours = store_.identity().id;
  const bool foreign = hello.store_id().size() == StoreId::kBytes &&
                       StoreId::FromBytes(AsBytes(hello.store_id())) != ours;
  const std::string theirs =
      foreign ? StoreId::FromBytes(AsBytes(hello.store_id())).ToString() : std::string();
  {
    MutexLock lock(mutex_);
    status_.foreign_store = options_.adopt ? "" : theirs;
  }
  if (!foreign) return absl::OkStatus();
  if (options_.adopt) {
    LogWarn("enclave_adopted",
            {{"enclave", name()}, {"its_store", theirs}, {"store", ours.ToString()}});
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      fmt::format("it has keys of key store {}, and the one here is {}. Put that store in its "
                  "place (`store`), or restart the enclave, which ends its keys, or name it in "
                  "`adopt_enclaves`",
                  theirs, ours.ToString()));
}

// Also when nothing is wanted: the enclave may still have what an earlier gateway asked for.
absl::Status EnclaveLink::ConfigureBlocking() {
  wire::v1::ConfigureRequest request;
  {
    MutexLock lock(mutex_);
    policy_changed_ = false;
    EncodeKeyPolicy(key_policy_, *request.mutable_settings());
  }
  grpc::ClientContext context;
  SetDeadline(context, kConfigureTimeout);
  wire::v1::ConfigureReply reply;
  grpc::Status status = control()->Configure(&context, request, &reply);
  if (!status.ok() && !IsAnswer(status)) return FromGrpc("key policy", status);
  std::string refused = status.ok() ? "" : ShownText(status.error_message());
  if (!status.ok() && refused.empty()) {
    // Not a refusal of ours, which names the setting: an enclave that knows no Configure, say.
    refused = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
  }
  if (!status.ok()) LogError("key_policy_refused", {{"enclave", name()}, {"reason", refused}});
  MutexLock lock(mutex_);
  status_.policy_refused = std::move(refused);
  return absl::OkStatus();
}

absl::StatusOr<wire::v1::SealingDek> EnclaveLink::ObtainSealingDekBlocking() {
  wire::v1::UnlockRequest request;
  request.set_new_sealing_dek(true);
  BULLA_RETURN_IF_ERROR(AddCredentials(options_.credentials_file, request));
  grpc::ClientContext context;
  SetDeadline(context, kUnlockTimeout);
  wire::v1::UnlockReply reply;
  BULLA_RETURN_IF_ERROR(FromGrpc("sealing key", control()->Unlock(&context, request, &reply)));
  return reply.sealing_dek();
}

absl::StatusOr<DekId> EnclaveLink::StoreSealingDekBlocking(const wire::v1::SealingDek& dek) {
  BULLA_ASSIGN_OR_RETURN(DekRow row, RowOf(dek, clock_.WallNow()));
  const DekId dek_id = row.dek_id;
  auto stored = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> result = stored->get_future();
  store_.PutDek(std::move(row),
                [stored](absl::Status status) { stored->set_value(std::move(status)); });
  if (result.wait_for(kStoreTimeout) != std::future_status::ready) {
    return absl::DeadlineExceededError("sealing key: the store does not answer");
  }
  BULLA_RETURN_IF_ERROR(result.get());
  return dek_id;
}

// A refusal is told and no error: the enclave's next probe says what it wants instead.
absl::Status EnclaveLink::SealUnderBlocking(const DekId& dek_id) {
  grpc::ClientContext context;
  SetDeadline(context, kSealUnderTimeout);
  wire::v1::SealUnderRequest request;
  wire::v1::SealUnderReply reply;
  request.set_dek_id(dek_id.bytes.data(), DekId::kBytes);
  const StoreId store = store_.identity().id;
  request.set_store_id(store.bytes.data(), StoreId::kBytes);
  grpc::Status status = control()->SealUnder(&context, request, &reply);
  if (!status.ok() && !IsAnswer(status)) return FromGrpc("sealing key", status);
  if (!status.ok()) {
    LogWarn("sealing_dek_refused", {{"enclave", name()},
                                    {"dek", dek_id.Short()},
                                    {"reason", ShownText(status.error_message())}});
    return absl::OkStatus();
  }
  MutexLock lock(mutex_);
  sealing_dek_failures_ = 0;
  sealing_dek_not_before_ = {};
  status_.sealing_refused.clear();
  return absl::OkStatus();
}

void EnclaveLink::RenewSealingDek() {
  {
    MutexLock lock(mutex_);
    if (clock_.Now() < sealing_dek_not_before_) return;
    if (std::exchange(renewing_sealing_dek_, true)) return;
  }
  wire::v1::UnlockRequest request;
  request.set_new_sealing_dek(true);
  StartUnlock(std::move(request),
              [self = shared_from_this()](absl::Status status, const wire::v1::UnlockReply& reply) {
                if (!status.ok()) return self->SealingDekStored(status);
                absl::StatusOr<DekRow> row = RowOf(reply.sealing_dek(), self->clock_.WallNow());
                if (!row.ok()) return self->SealingDekStored(row.status());
                const DekId dek_id = row->dek_id;
                self->store_.PutDek(*std::move(row), [self, dek_id](const absl::Status& stored) {
                  self->SealingDekStored(stored.ok() ? absl::StatusOr<DekId>(dek_id) : stored);
                });
              });
}

void EnclaveLink::SealingDekStored(const absl::StatusOr<DekId>& dek_id) {
  if (!dek_id.ok()) SealingDekFailed(dek_id.status());
  MutexLock lock(mutex_);
  renewing_sealing_dek_ = false;
  if (!dek_id.ok()) return;
  stored_sealing_dek_ = *dek_id;
  changed_.NotifyAll();
}

void EnclaveLink::SealingDekFailed(const absl::Status& status) {
  const UnlockCause cause = CauseOf(status);
  events_.OnSealingDekFailed(*this, cause);
  MutexLock lock(mutex_);
  status_.sealing_refused = IsFinal(cause) ? NameOf(cause) : std::string_view();
  const unsigned failures = ++sealing_dek_failures_;
  sealing_dek_not_before_ = clock_.Now() + UnlockBackoff(failures, cause, RandomUint64());
  if (!std::has_single_bit(failures)) return;
  LogWarn("sealing_dek_failed", {{"enclave", name()},
                                 {"attempts", failures},
                                 {"cause", NameOf(cause)},
                                 {"reason", status.ToString()}});
}

absl::Status EnclaveLink::OpenStreamsBlocking() {
  {
    MutexLock lock(mutex_);
    streams_missing_ = false;
  }
  for (std::size_t missing = pool_.missing(); missing > 0; --missing) {
    BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                           DialChannelBlocking(options_.address));
    pool_.Open(MakeGrpcFrameConnection(std::move(channel)));
  }
  return absl::OkStatus();
}

absl::Status EnclaveLink::SuperviseBlocking() {
  while (true) {
    BULLA_RETURN_IF_ERROR(ProbeBlocking());
    BULLA_RETURN_IF_ERROR(ForgetBlocking());
    bool policy_changed = false;
    bool streams_missing = false;
    std::optional<DekId> stored_sealing_dek;
    {
      MutexLock lock(mutex_);
      changed_.WaitFor(mutex_, options_.probe_interval, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS {
        return stopping_ || streams_missing_ || policy_changed_ || forget_soon_ ||
               stored_sealing_dek_;
      });
      if (stopping_) return absl::CancelledError("stopping");
      forget_soon_ = false;
      policy_changed = policy_changed_;
      streams_missing = streams_missing_;
      stored_sealing_dek = std::exchange(stored_sealing_dek_, std::nullopt);
    }
    if (stored_sealing_dek) BULLA_RETURN_IF_ERROR(SealUnderBlocking(*stored_sealing_dek));
    if (policy_changed) BULLA_RETURN_IF_ERROR(ConfigureBlocking());
    if (streams_missing) {
      BULLA_RETURN_IF_ERROR(OpenStreamsBlocking());
      WaitFor(kReopenPause);
    }
  }
}

absl::Status EnclaveLink::ForgetBlocking() {
  // So many calls, and then a probe again: 131,072 keys a round.
  constexpr int kCallsMax = 64;
  for (int i = 0; i < kCallsMax; ++i) {
    wire::v1::ForgetRequest request;
    for (const KeyId& id : forgetting_.Next(kKeysToForgetMax, clock_.Now())) {
      request.mutable_key_ids()->append(AsText(id.bytes));
    }
    if (request.key_ids().empty()) break;
    grpc::ClientContext context;
    SetDeadline(context, kForgetTimeout);
    wire::v1::ForgetReply reply;
    BULLA_RETURN_IF_ERROR(FromGrpc("forget", control()->Forget(&context, request, &reply)));
  }
  return absl::OkStatus();
}

void EnclaveLink::AwaitAnswersBlocking() {
  AwaitBlocking(kRetirePatience, [this] { return pool_.in_flight() + pool_.outstanding() == 0; });
}

absl::Status EnclaveLink::ProbeBlocking() {
  grpc::ClientContext context;
  SetDeadline(context, kProbeTimeout);
  wire::v1::ProbeReply reply;
  BULLA_RETURN_IF_ERROR(FromGrpc("probe", control()->Probe(&context, {}, &reply)));
  {
    MutexLock lock(mutex_);
    EnclaveReport report = DecodeReport(reply);
    status_.worker_busy_ratio = status_.report ? WorkerBusyRatio(*status_.report, report) : 0;
    status_.report = std::move(report);
    UpdateHitRate();
  }
  std::vector<DekId> deks = DecodeDeksToRenew(reply);
  if (!deks.empty()) events_.OnDeksToRenew(*this, deks);
  if (reply.sealing_dek_wanted()) RenewSealingDek();
  return absl::OkStatus();
}

// A signature whose key is not there is answered twice: that its blob is needed, and then.
void EnclaveLink::UpdateHitRate() {
  constexpr double kFade = 0.9;
  const StreamPool::Outcomes now = pool_.outcomes();
  const auto misses = static_cast<double>(now.needed_blob - outcomes_seen_.needed_blob);
  const auto answers = static_cast<double>(now.answered - outcomes_seen_.answered);
  outcomes_seen_ = now;
  recent_misses_ = kFade * recent_misses_ + misses;
  recent_signatures_ = kFade * recent_signatures_ + std::max(answers - misses, misses);
  status_.sticky_hit_rate = recent_signatures_ < 1 ? 1 : 1 - recent_misses_ / recent_signatures_;
}

void EnclaveLink::Disconnect() {
  connected_.store(false, std::memory_order_release);
  {
    MutexLock lock(mutex_);
    control_.reset();
    for (grpc::ClientContext* context : unlocks_) context->TryCancel();
  }
  pool_.CloseBlocking();
  MutexLock lock(mutex_);
  changed_.Wait(mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return unlocks_.empty(); });
}

void EnclaveLink::OnMissing() {
  MutexLock lock(mutex_);
  streams_missing_ = true;
  changed_.NotifyAll();
}

void EnclaveLink::OpenDek(const DekRow& dek, std::function<void(absl::Status)> done) {
  wire::v1::UnlockRequest request;
  request.mutable_open()->set_dek_id(dek.dek_id.bytes.data(), DekId::kBytes);
  request.mutable_open()->set_wrapped(dek.wrapped.data(), dek.wrapped.size());
  StartUnlock(std::move(request),
              [done = std::move(done)](absl::Status status, const wire::v1::UnlockReply&) {
                done(std::move(status));
              });
}

void EnclaveLink::StartUnlock(wire::v1::UnlockRequest request, UnlockDone done) {
  struct Call {
    std::shared_ptr<wire::v1::Enclave::Stub> control;
    grpc::ClientContext context;
    wire::v1::UnlockRequest request;
    wire::v1::UnlockReply reply;
  };
  auto call = std::make_shared<Call>();
  call->request = std::move(request);
  absl::Status readable = AddCredentials(options_.credentials_file, call->request);
  if (!readable.ok()) return done(std::move(readable), call->reply);
  {
    MutexLock lock(mutex_);
    call->control = control_;
    if (call->control != nullptr) unlocks_.insert(&call->context);
  }
  if (call->control == nullptr) {
    return done(absl::UnavailableError("the enclave is not connected"), call->reply);
  }
  SetDeadline(call->context, kUnlockTimeout);
  call->control->async()->Unlock(&call->context, &call->request, &call->reply,
                                 [this, call, done = std::move(done)](grpc::Status status) {
                                   done(FromGrpc("unlock", status), call->reply);
                                   MutexLock lock(mutex_);
                                   unlocks_.erase(&call->context);
                                   changed_.NotifyAll();
                                 });
}

absl::StatusOr<EnclaveLink::KeysInUse> EnclaveLink::KeysInUseBlocking(std::uint32_t part) {
  const std::shared_ptr<wire::v1::Enclave::Stub> stub = control();
  if (stub == nullptr) return absl::UnavailableError("the enclave is not connected");
  grpc::ClientContext context;
  SetDeadline(context, kKeysInUseTimeout);
  wire::v1::KeysInUseRequest request;
  wire::v1::KeysInUseReply reply;
  request.set_part(part);
  BULLA_RETURN_IF_ERROR(FromGrpc("keys in use", stub->KeysInUse(&context, request, &reply)));
  if (reply.key_ids().size() % KeyId::kBytes != 0 || reply.parts() > kPartsMax) {
    return absl::InvalidArgumentError("keys in use: the enclave sent something else");
  }
  KeysInUse in_use{.parts = reply.parts()};
  for (std::size_t at = 0; at < reply.key_ids().size(); at += KeyId::kBytes) {
    in_use.keys.push_back(KeyId::FromBytes(AsBytes(reply.key_ids()).subspan(at, KeyId::kBytes)));
  }
  return in_use;
}

std::string EnclaveLink::boot_id() const {
  MutexLock lock(mutex_);
  return status_.boot_id;
}

void EnclaveLink::ForgetSoon() {
  MutexLock lock(mutex_);
  forget_soon_ = true;
  changed_.NotifyAll();
}

void EnclaveLink::RetryRefused() {
  MutexLock lock(mutex_);
  sealing_dek_not_before_ = {};
  retry_now_ = !status_.sealing_refused.empty();
  changed_.NotifyAll();
}

void EnclaveLink::SetKeyPolicy(const KeyPolicy& policy) {
  // Notified under the lock: after it, Stop() may return and this object go.
  MutexLock lock(mutex_);
  key_policy_ = policy;
  policy_changed_ = true;
  changed_.NotifyAll();
}

EnclaveLink::Status EnclaveLink::status() const {
  Status status;
  {
    MutexLock lock(mutex_);
    status = status_;
  }
  status.connected = connected();
  status.streams_open = pool_.open();
  status.in_flight = pool_.in_flight();
  status.stream_resets = pool_.resets();
  return status;
}

void EnclaveLink::WaitFor(milliseconds time) {
  MutexLock lock(mutex_);
  changed_.WaitFor(mutex_, time,
                   [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return stopping_ || retry_now_; });
  retry_now_ = false;
}

std::shared_ptr<wire::v1::Enclave::Stub> EnclaveLink::control() const {
  MutexLock lock(mutex_);
  return control_;
}

bool EnclaveLink::stopping() const {
  MutexLock lock(mutex_);
  return stopping_;
}

bool EnclaveLink::retiring() const {
  MutexLock lock(mutex_);
  return retiring_;
}

}  // namespace bulla
