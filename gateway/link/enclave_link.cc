#include "gateway/link/enclave_link.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/link/credentials.h"
#include "gateway/link/unlock_backoff.h"
#include "wire/enclave.pb.h"

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
constexpr milliseconds kReopenPause{20};  // of streams
// Between two looks at whether what is in flight is answered.
constexpr milliseconds kRetireLook{1};

absl::Status Named(std::string_view what, const absl::Status& status) {
  absl::Status named(status.code(), fmt::format("{}: {}", what, std::string(status.message())));
  return WithCause(std::move(named), CauseOf(status));
}

// Whether the call came to the enclave's code at all, whatever that then said.
bool IsAnswer(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status) &&
         !absl::IsCancelled(status);
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

}  // namespace

EnclaveLink::EnclaveLink(Options options, const LinkSettings& settings, LinkEvents& events,
                         KeyStore& store, const DisabledKeys& disabled, PoolMetrics& pool_metrics,
                         const Environment& environment)
    : options_(std::move(options)),
      events_(events),
      store_(store),
      environment_(environment),
      clock_(environment.clock),
      pool_(
          settings, *this, events, [this] { OnMissing(); }, pool_metrics, clock_),
      forgetting_(disabled),
      key_policy_(options_.key_policy) {
  status_.id = id();
  status_.address = name();
}

EnclaveLink::~EnclaveLink() { Stop(); }

// ---- Steps -----------------------------------------------------------------------------------

void EnclaveLink::Start() {
  MutexLock lock(mutex_);
  timer_ = environment_.timers.Make(fmt::format("link-{}", options_.id), [this] { return Step(); });
  Wake();
}

void EnclaveLink::Stop() {
  Timer* timer = nullptr;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    timer = timer_.get();
    if (timer != nullptr) {
      Wake();
      ended_.Wait(mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return retired(); });
    }
  }
  if (timer != nullptr) timer->Stop();
  pool_.FailGathered();
}

void EnclaveLink::Retire() {
  MutexLock lock(mutex_);
  stopping_ = true;
  retiring_ = true;
  Wake();
}

void EnclaveLink::Wake() {
  if (timer_ != nullptr) timer_->WakeBy(clock_.Now());
}

void EnclaveLink::Leave(std::function<void()> for_next_step) {
  MutexLock lock(mutex_);
  came_.push_back(std::move(for_next_step));
  Wake();
}

void EnclaveLink::DoWhatCame() {
  std::vector<std::function<void()>> came;
  {
    MutexLock lock(mutex_);
    came.swap(came_);
  }
  for (const auto& step : came) step();
}

MonotonicTime EnclaveLink::Step() {
  DoWhatCame();
  const MonotonicTime now = clock_.Now();
  switch (state_) {
    case State::kApart: {
      {
        MutexLock lock(mutex_);
        if (std::exchange(retry_now_, false) || stopping_) next_try_ = now;
      }
      if (now < next_try_) return next_try_;
      if (stopping()) {
        Lose(absl::CancelledError("stopping"));
      } else {
        Connect();
      }
      return now;
    }
    case State::kConnecting:
      if (stopping()) {
        Lose(absl::CancelledError("stopping"));
      } else if (now >= answer_by_) {
        Lose(absl::DeadlineExceededError("sealing key: the store does not answer"));
      } else {
        return answer_by_;
      }
      return now;
    case State::kServing:
      return Serve(now);
    case State::kRetiring:
      if (pool_.in_flight() + pool_.outstanding() > 0 && now < retire_by_) {
        return now + kRetireLook;
      }
      Lose(absl::CancelledError("stopping"));
      return now;
    case State::kLeaving:
      if (!HasLeft()) return MonotonicTime::max();
      Left(now);
      return now;
    case State::kEnded:
      break;
  }
  return MonotonicTime::max();
}

template <typename Reply>
EnclaveLink::Then<Reply> EnclaveLink::Await(Then<Reply> then) {
  const std::uint64_t number = awaited_ = ++last_awaited_;
  return [this, number, then = std::move(then)](absl::StatusOr<Reply> reply) {
    Leave([this, number, then, reply = std::move(reply)] {
      if (awaited_ != number) return;
      awaited_ = 0;
      answer_by_ = MonotonicTime::max();
      then(reply);
    });
  };
}

template <typename Reply>
EnclaveLink::Then<Reply> EnclaveLink::Counted(Then<Reply> done) {
  MutexLock counted(mutex_);
  ++calls_;
  return [this, done = std::move(done)](absl::StatusOr<Reply> reply) {
    done(std::move(reply));
    // Woken under the lock: after it, the link may go.
    MutexLock lock(mutex_);
    --calls_;
    Wake();
  };
}

// ---- Connecting ------------------------------------------------------------------------------

void EnclaveLink::Connect() {
  state_ = State::kConnecting;
  absl::StatusOr<std::shared_ptr<ControlConnection>> dialled =
      environment_.transport.DialControlBlocking(options_.address);
  if (!dialled.ok()) return Lose(dialled.status());
  {
    MutexLock lock(mutex_);
    control_ = *dialled;
  }
  wire::v1::HelloRequest request;
  request.set_protocol_version(kWireProtocolVersion);
  (*dialled)->Hello(
      request, kHelloTimeout,
      Counted(Await<wire::v1::HelloReply>(
          [this](absl::StatusOr<wire::v1::HelloReply> r) { OnHello(std::move(r)); })));
}

void EnclaveLink::OnHello(absl::StatusOr<wire::v1::HelloReply> reply) {
  if (!reply.ok()) return Lose(Named("hello", reply.status()));
  if (absl::Status checked = CheckHello(*reply); !checked.ok()) return Lose(std::move(checked));
  if (absl::Status checked = CheckStore(*reply); !checked.ok()) return Lose(std::move(checked));
  greeted_dek_.reset();
  if (reply->has_sealing_dek()) {
    absl::StatusOr<DekRow> row = RowOf(reply->sealing_dek(), clock_.WallNow());
    if (!row.ok()) return Lose(row.status());
    greeted_dek_ = *std::move(row);
  }
  Configure();
}

absl::Status EnclaveLink::CheckHello(const wire::v1::HelloReply& hello) {
  if (hello.protocol_version() != kWireProtocolVersion ||
      hello.boot_id().size() != BootId::kBytes) {
    return absl::FailedPreconditionError("hello: the enclave answers in another protocol");
  }
  // What it says of itself earns it nothing: the gateway's configuration says who is an enclave.
  if (hello.platform() != options_.platform) {
    return absl::FailedPreconditionError(
        fmt::format("hello: the enclave runs on platform \"{}\", this gateway on {}",
                    ShownText(hello.platform()), options_.platform));
  }
  MutexLock lock(mutex_);
  status_.boot_id = BootId::FromBytes(AsBytes(hello.boot_id())).ToString();
  status_.platform = ShownText(hello.platform());
  return absl::OkStatus();
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
void EnclaveLink::Configure() {
  wire::v1::ConfigureRequest request;
  {
    MutexLock lock(mutex_);
    policy_changed_ = false;
    EncodeKeyPolicy(key_policy_, *request.mutable_settings());
  }
  control()->Configure(request, kConfigureTimeout,
                       Counted(Await<wire::v1::ConfigureReply>(
                           [this](const absl::StatusOr<wire::v1::ConfigureReply>& reply) {
                             OnConfigured(reply.status());
                           })));
}

void EnclaveLink::OnConfigured(const absl::Status& status) {
  if (!status.ok() && !IsAnswer(status)) return Lose(Named("key policy", status));
  std::string refused = status.ok() ? "" : std::string(status.message());
  // Not a refusal of ours, which names the setting: an enclave that knows no Configure, say.
  if (!status.ok() && refused.empty()) refused = absl::StatusCodeToString(status.code());
  if (!status.ok()) LogError("key_policy_refused", {{"enclave", name()}, {"reason", refused}});
  {
    MutexLock lock(mutex_);
    status_.policy_refused = std::move(refused);
  }
  if (state_ != State::kConnecting) return;
  if (greeted_dek_) {
    StoreSealingDek(*std::exchange(greeted_dek_, std::nullopt));
  } else {
    ObtainSealingDek();
  }
}

void EnclaveLink::ObtainSealingDek() {
  wire::v1::UnlockRequest request;
  request.set_new_sealing_dek(true);
  StartUnlock(
      std::move(request),
      Await<wire::v1::UnlockReply>([this](const absl::StatusOr<wire::v1::UnlockReply>& reply) {
        if (!reply.ok()) {
          SealingDekFailed(reply.status());
          return Lose(reply.status());
        }
        StoreSealingDek(RowOf(reply->sealing_dek(), clock_.WallNow()));
      }));
}

void EnclaveLink::StoreSealingDek(absl::StatusOr<DekRow> row) {
  if (!row.ok()) return Lose(row.status());
  const DekId dek_id = row->dek_id;
  Then<DekId> done = Await<DekId>([this](const absl::StatusOr<DekId>& stored) {
    if (!stored.ok()) return Lose(stored.status());
    SealUnder(*stored);
  });
  answer_by_ = clock_.Now() + kStoreTimeout;
  store_.PutDek(*std::move(row), [self = shared_from_this(), dek_id,
                                  done = std::move(done)](const absl::Status& stored) {
    done(stored.ok() ? absl::StatusOr<DekId>(dek_id) : stored);
  });
}

void EnclaveLink::SealUnder(const DekId& dek_id) {
  wire::v1::SealUnderRequest request;
  request.set_dek_id(dek_id.bytes.data(), DekId::kBytes);
  const StoreId store = store_.identity().id;
  request.set_store_id(store.bytes.data(), StoreId::kBytes);
  control()->SealUnder(request, kSealUnderTimeout,
                       Counted(Await<wire::v1::SealUnderReply>(
                           [this, dek_id](const absl::StatusOr<wire::v1::SealUnderReply>& reply) {
                             OnSealedUnder(dek_id, reply.status());
                           })));
}

// A refusal is told and no error: the enclave's next probe says what it wants instead.
void EnclaveLink::OnSealedUnder(const DekId& dek_id, const absl::Status& status) {
  if (!status.ok() && !IsAnswer(status)) return Lose(Named("sealing key", status));
  if (status.ok()) {
    MutexLock lock(mutex_);
    sealing_dek_failures_ = 0;
    sealing_dek_not_before_ = {};
    status_.sealing_refused.clear();
  } else {
    LogWarn(
        "sealing_dek_refused",
        {{"enclave", name()}, {"dek", dek_id.Short()}, {"reason", std::string(status.message())}});
  }
  if (state_ != State::kConnecting) return;
  forgetting_.Begin();
  if (absl::Status opened = OpenStreamsBlocking(); !opened.ok()) return Lose(std::move(opened));
  Connected();
}

absl::Status EnclaveLink::OpenStreamsBlocking() {
  {
    MutexLock lock(mutex_);
    streams_missing_ = false;
  }
  for (std::size_t missing = pool_.missing(); missing > 0; --missing) {
    BULLA_ASSIGN_OR_RETURN(std::unique_ptr<FrameConnection> connection,
                           environment_.transport.DialFramesBlocking(options_.address));
    pool_.Open(std::move(connection));
  }
  return absl::OkStatus();
}

void EnclaveLink::Connected() {
  attempts_ = 0;
  state_ = State::kServing;
  next_probe_ = clock_.Now();
  events_.OnLinkConnected(*this);
  connected_.store(true, std::memory_order_release);
  LogInfo("enclave_connected", {{"enclave", name()}});
}

// ---- Serving ---------------------------------------------------------------------------------

MonotonicTime EnclaveLink::Serve(MonotonicTime now) {
  bool policy_changed = false;
  bool streams_missing = false;
  std::optional<DekId> stored_sealing_dek;
  {
    MutexLock lock(mutex_);
    if (!stopping_) {
      if (awaited_ != 0) return MonotonicTime::max();
      if (std::exchange(forget_soon_, false)) next_probe_ = now;
      stored_sealing_dek = std::exchange(stored_sealing_dek_, std::nullopt);
      policy_changed = !stored_sealing_dek && policy_changed_;
      streams_missing = streams_missing_;
    } else if (retiring_) {
      state_ = State::kRetiring;
      awaited_ = 0;
      retire_by_ = now + kRetirePatience;
      return now;
    }
  }
  if (stopping()) {
    Lose(absl::CancelledError("stopping"));
  } else if (stored_sealing_dek) {
    SealUnder(*stored_sealing_dek);
  } else if (policy_changed) {
    Configure();
  } else if (streams_missing && now >= reopen_not_before_) {
    // Streams that break as soon as they are opened are not opened as fast as they break.
    reopen_not_before_ = now + kReopenPause;
    next_probe_ = now;
    if (absl::Status opened = OpenStreamsBlocking(); !opened.ok()) Lose(std::move(opened));
  } else if (now >= next_probe_) {
    Probe();
  } else {
    return streams_missing ? std::min(next_probe_, reopen_not_before_) : next_probe_;
  }
  return now;
}

void EnclaveLink::Probe() {
  control()->Probe({}, kProbeTimeout,
                   Counted(Await<wire::v1::ProbeReply>(
                       [this](const absl::StatusOr<wire::v1::ProbeReply>& reply) {
                         if (!reply.ok()) return Lose(Named("probe", reply.status()));
                         OnProbed(*reply);
                       })));
}

void EnclaveLink::OnProbed(const wire::v1::ProbeReply& reply) {
  // So many calls, and then a probe again: 131,072 keys a round.
  constexpr int kForgetCallsMax = 64;
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
  if (pool_.missing() > 0) OnMissing();  // streams_min is another
  next_probe_ = clock_.Now() + options_.probe_interval;
  Forget(kForgetCallsMax);
}

void EnclaveLink::Forget(int calls_left) {
  if (calls_left == 0) return;
  wire::v1::ForgetRequest request;
  for (const KeyId& id : forgetting_.Next(kKeysToForgetMax, clock_.Now())) {
    request.mutable_key_ids()->append(AsText(id.bytes));
  }
  if (request.key_ids().empty()) return;
  control()->Forget(request, kForgetTimeout,
                    Counted(Await<wire::v1::ForgetReply>(
                        [this, calls_left](const absl::StatusOr<wire::v1::ForgetReply>& reply) {
                          if (!reply.ok()) return Lose(Named("forget", reply.status()));
                          Forget(calls_left - 1);
                        })));
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

void EnclaveLink::RenewSealingDek() {
  {
    MutexLock lock(mutex_);
    if (clock_.Now() < sealing_dek_not_before_) return;
    if (std::exchange(renewing_sealing_dek_, true)) return;
  }
  wire::v1::UnlockRequest request;
  request.set_new_sealing_dek(true);
  StartUnlock(std::move(request),
              [self = shared_from_this()](const absl::StatusOr<wire::v1::UnlockReply>& reply) {
                if (!reply.ok()) return self->SealingDekStored(reply.status());
                absl::StatusOr<DekRow> row = RowOf(reply->sealing_dek(), self->clock_.WallNow());
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
  Wake();
}

void EnclaveLink::SealingDekFailed(const absl::Status& status) {
  const UnlockCause cause = CauseOf(status);
  events_.OnSealingDekFailed(*this, cause);
  MutexLock lock(mutex_);
  status_.sealing_refused = IsFinal(cause) ? NameOf(cause) : std::string_view();
  const unsigned failures = ++sealing_dek_failures_;
  sealing_dek_not_before_ = clock_.Now() + UnlockBackoff(failures, cause, environment_.random());
  if (!std::has_single_bit(failures)) return;
  LogWarn("sealing_dek_failed", {{"enclave", name()},
                                 {"attempts", failures},
                                 {"cause", NameOf(cause)},
                                 {"reason", status.ToString()}});
}

// ---- Leaving ---------------------------------------------------------------------------------

void EnclaveLink::Lose(absl::Status reason) {
  lost_ = std::move(reason);
  awaited_ = 0;
  answer_by_ = MonotonicTime::max();
  state_ = State::kLeaving;
  connected_.store(false, std::memory_order_release);
  std::shared_ptr<ControlConnection> control;
  {
    MutexLock lock(mutex_);
    control.swap(control_);
  }
  if (control != nullptr) control->CancelAll();
  pool_.Close();
  MutexLock lock(mutex_);
  Wake();
}

bool EnclaveLink::HasLeft() {
  {
    MutexLock lock(mutex_);
    if (calls_ > 0) return false;
  }
  return pool_.FinishClosing();
}

void EnclaveLink::Left(MonotonicTime now) {
  state_ = State::kApart;
  events_.OnLinkLost(*this);
  if (stopping()) {
    state_ = State::kEnded;
    pool_.FailGathered();
    MutexLock lock(mutex_);
    retired_.store(true, std::memory_order_release);
    ended_.NotifyAll();
    return;
  }
  if (attempts_ == 0) {
    LogWarn("enclave_lost", {{"enclave", name()}, {"reason", lost_.ToString()}});
  }
  {
    MutexLock lock(mutex_);
    status_.last_error = lost_.ToString();
    ++status_.reconnects;
  }
  next_try_ = now + Backoff(attempts_++, lost_);
}

// Exponential up to what befits the failure, with a jitter of half of it.
milliseconds EnclaveLink::Backoff(int attempt, const absl::Status& failure) {
  const auto step = std::min(kReconnectMin * (1 << std::min(attempt, 13)), LongestWait(failure));
  const auto jitter = environment_.random() % static_cast<std::uint64_t>(step.count() / 2 + 1);
  return step / 2 + milliseconds(jitter);
}

// ---- What others ask of it -------------------------------------------------------------------

void EnclaveLink::OnMissing() {
  MutexLock lock(mutex_);
  streams_missing_ = true;
  Wake();
}

void EnclaveLink::OpenDek(const DekRow& dek, std::function<void(absl::Status)> done) {
  wire::v1::UnlockRequest request;
  request.mutable_open()->set_dek_id(dek.dek_id.bytes.data(), DekId::kBytes);
  request.mutable_open()->set_wrapped(dek.wrapped.data(), dek.wrapped.size());
  StartUnlock(std::move(request),
              [done = std::move(done)](const absl::StatusOr<wire::v1::UnlockReply>& reply) {
                done(reply.status());
              });
}

void EnclaveLink::StartUnlock(wire::v1::UnlockRequest request, Then<wire::v1::UnlockReply> done) {
  absl::Status readable = AddCredentials(options_.credentials_file, request);
  if (!readable.ok()) return done(readable);
  const std::shared_ptr<ControlConnection> connection = control();
  if (connection == nullptr) return done(absl::UnavailableError("the enclave is not connected"));
  connection->Unlock(
      request, kUnlockTimeout,
      Counted<wire::v1::UnlockReply>(
          [done = std::move(done)](const absl::StatusOr<wire::v1::UnlockReply>& reply) {
            if (!reply.ok()) return done(Named("unlock", reply.status()));
            done(reply);
          }));
}

void EnclaveLink::AskKeysInUse(std::uint32_t part,
                               std::function<void(absl::StatusOr<KeysInUse>)> done) {
  const std::shared_ptr<ControlConnection> connection = control();
  if (connection == nullptr) return done(absl::UnavailableError("the enclave is not connected"));
  wire::v1::KeysInUseRequest request;
  request.set_part(part);
  connection->KeysInUse(
      request, kKeysInUseTimeout,
      Counted<wire::v1::KeysInUseReply>([done = std::move(done)](
                                            const absl::StatusOr<wire::v1::KeysInUseReply>& reply) {
        if (!reply.ok()) return done(Named("keys in use", reply.status()));
        if (reply->key_ids().size() % KeyId::kBytes != 0 || reply->parts() > kPartsMax) {
          return done(absl::InvalidArgumentError("keys in use: the enclave sent something else"));
        }
        KeysInUse in_use{.parts = reply->parts()};
        for (std::size_t at = 0; at < reply->key_ids().size(); at += KeyId::kBytes) {
          in_use.keys.push_back(
              KeyId::FromBytes(AsBytes(reply->key_ids()).subspan(at, KeyId::kBytes)));
        }
        done(std::move(in_use));
      }));
}

std::string EnclaveLink::boot_id() const {
  MutexLock lock(mutex_);
  return status_.boot_id;
}

void EnclaveLink::ForgetSoon() {
  MutexLock lock(mutex_);
  forget_soon_ = true;
  Wake();
}

void EnclaveLink::RetryRefused() {
  MutexLock lock(mutex_);
  sealing_dek_not_before_ = {};
  retry_now_ = !status_.sealing_refused.empty();
  Wake();
}

void EnclaveLink::SetKeyPolicy(const KeyPolicy& policy) {
  // Woken under the lock: after it, Stop() may return and this object go.
  MutexLock lock(mutex_);
  key_policy_ = policy;
  policy_changed_ = true;
  Wake();
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

std::shared_ptr<ControlConnection> EnclaveLink::control() const {
  MutexLock lock(mutex_);
  return control_;
}

bool EnclaveLink::stopping() const {
  MutexLock lock(mutex_);
  return stopping_;
}

}  // namespace bulla
