#include "gateway/routing/router.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include <absl/container/inlined_vector.h>

#include "gateway/call/call_list.h"
#include "gateway/call/refusal.h"
#include "gateway/call/store_errors.h"

namespace bulla {
namespace {

// A tick that comes this late tells of a gateway that did not run. Its enclaves' answers wait to be
// read: they are not stuck.
constexpr std::chrono::milliseconds kLateTick{50};

// A million disabled keys are read in a second. Until they are, signatures are UNAVAILABLE.
constexpr std::chrono::milliseconds kDisabledKeysPatience{5000};

// Renewed credentials are noticed by then.
constexpr std::chrono::milliseconds kCredentialsLookInterval{1000};

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

prometheus::Counter& RetryCounter(Metrics& metrics, const std::string& reason) {
  return metrics.AddCounter(
      "retry_total",
      "Signatures repeated: an enclave left them unanswered (lost), had the DEK not open (no_dek), "
      "or was still opening the key (rehydrate_timeout); refused: not repeated, the retry budget "
      "was "
      "spent",
      {{"reason", reason}});
}

}  // namespace

// ---- Sorting calls by enclave ----------------------------------------------------------------

class Router::Sorted {
 public:
  explicit Sorted(std::shared_ptr<const Fleet::Table> table)
      : table_(std::move(table)), lists_(table_->members.size()) {}

  const Fleet::Table& table() const { return *table_; }
  void Append(std::size_t member, SignCall* call) { lists_[member].Append(call); }
  void SendAll() {
    for (std::size_t i = 0; i < lists_.size(); ++i) {
      if (!lists_[i].empty()) table_->members[i]->link()->pool().Sign(lists_[i].first());
    }
  }

 private:
  const std::shared_ptr<const Fleet::Table> table_;
  absl::InlinedVector<CallList, 8> lists_;
};

// ---- Life ------------------------------------------------------------------------------------

Router::Router(Options options, KeyStore& store, Metrics& metrics, const Clock& clock)
    : options_(std::move(options)),
      store_(store),
      clock_(clock),
      last_tick_(clock.Now()),
      key_policy_(options_.key_policy),
      retried_{&RetryCounter(metrics, "lost"), &RetryCounter(metrics, "no_dek"),
               &RetryCounter(metrics, "rehydrate_timeout")},
      retries_refused_(RetryCounter(metrics, "refused")),
      cross_enclave_(metrics.AddCounter(
          "cross_enclave_route_total",
          "Signatures sent to another enclave than the one that the key belongs to")),
      blobs_sent_(metrics.AddCounter("bulla_gateway_blobs_sent_total",
                                     "Sealed keys sent to an enclave that was asked to sign with "
                                     "them and did not have them")),
      pool_metrics_(metrics),
      disabled_(store, metrics),
      unlocker_(options_.deks_ahead_max, store, metrics, clock),
      fleet_([this](const Address& address, std::uint32_t id) { return MakeLink(address, id); },
             clock),
      rebalancer_(fleet_, store, metrics, options_.step_interval),
      batch_timer_("batches", clock, [this] {
        const MonotonicTime now = clock_.Now();
        MonotonicTime next = MonotonicTime::max();
        const std::shared_ptr<const Fleet::Table> table = fleet_.table();
        for (const auto& member : table->members) {
          next = std::min(next, member->link()->pool().SendDue(now));
        }
        for (const auto& link : table->retiring) next = std::min(next, link->pool().SendDue(now));
        return next;
      }) {
  disabled_.OnDisabled([this] {
    const std::shared_ptr<const Fleet::Table> table = fleet_.table();
    for (const auto& member : table->members) member->link()->ForgetSoon();
  });
}

std::shared_ptr<EnclaveLink> Router::MakeLink(const Address& address, std::uint32_t id) {
  KeyPolicy key_policy;
  {
    MutexLock lock(mutex_);
    key_policy = key_policy_;
  }
  return std::make_shared<EnclaveLink>(
      EnclaveLink::Options{
          .address = address,
          .id = id,
          .pool = options_.pool,
          .credentials_file = options_.credentials_file,
          .platform = options_.platform,
          .key_policy = key_policy,
          .adopt = std::ranges::count(options_.adopt_enclaves, address.ToString()) > 0,
          .probe_interval = options_.probe_interval},
      *this, store_, disabled_, pool_metrics_, clock_);
}

Router::~Router() { Stop(); }

void Router::Start() {
  credentials_ = FileStamp::Of(options_.credentials_file);
  disabled_.Tick(clock_.Now());
  disabled_.AwaitFirst(kDisabledKeysPatience);
  fleet_.Reconcile(options_.enclaves);
  rebalancer_.Start();
}

void Router::Stop() {
  stopping_ = true;
  batch_timer_.Stop();
  rebalancer_.Stop();
  fleet_.Stop();
  SignCall* deferred = nullptr;
  {
    MutexLock lock(mutex_);
    deferred = std::exchange(deferred_, {}).first();
  }
  FailAll(deferred, ErrorCode::kUnavailable);
}

void Router::SetKeyPolicy(const KeyPolicy& policy) {
  {
    MutexLock lock(mutex_);
    key_policy_ = policy;
  }
  const std::shared_ptr<const Fleet::Table> table = fleet_.table();
  for (const auto& member : table->members) member->link()->SetKeyPolicy(policy);
}

// ---- Signing ---------------------------------------------------------------------------------

void Router::Sign(SignCall* first) {
  std::size_t received = 0;
  for (SignCall* call = first; call != nullptr; call = call->next) {
    ++received;
    call->blob_loads = 0;
    call->blob_follows = 0;
    call->retries = 0;
  }
  retry_budget_.Deposit(received);
  Route(first);
}

void Router::Route(SignCall* first) {
  const std::shared_ptr<const DisabledKeys::Snapshot> disabled = disabled_.snapshot();
  if (disabled == nullptr) return FailAll(first, ErrorCode::kUnavailable);
  Sorted sorted(fleet_.table());
  CallList unroutable;
  CallList refused;
  std::size_t crossed = 0;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    if (disabled->Contains(call->key_id)) {
      refused.Append(call);
      continue;
    }
    std::size_t asked = 0;
    std::optional<std::size_t> member =
        sorted.table().ring.Find(call->key_id, [&](std::size_t index) {
          ++asked;
          return sorted.table().members[index]->TryAdmit();
        });
    if (!member) {
      unroutable.Append(call);
      continue;
    }
    if (asked > 1) ++crossed;
    sorted.Append(*member, call);
  }
  if (crossed > 0) cross_enclave_.Increment(static_cast<double>(crossed));
  FailAll(refused.first(), ErrorCode::kInvalidKey);
  FailAll(unroutable.first(), ErrorCode::kUnavailable);
  sorted.SendAll();
}

// Signing is deterministic, so it does no harm when the enclave has signed already.
void Router::OnLost(EnclaveLink& link, SignCall* first) {
  Retry(link, first, RetryReason::kLost, ErrorCode::kUnavailable);
}

void Router::OnNeedDek(EnclaveLink& link, SignCall* first) {
  std::array<CallList, kErrorCodeCount> by_error;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    const ErrorCode error = unlocker_.WantFor(link, call->key_id);
    by_error[static_cast<std::size_t>(error)].Append(call);
    MutexLock lock(mutex_);
    blob_fetch_.Dropped(link.id(), call->key_id);
  }
  for (std::size_t error = 0; error < by_error.size(); ++error) {
    if (by_error[error].empty()) continue;
    Retry(link, by_error[error].first(), RetryReason::kNoDek, static_cast<ErrorCode>(error));
  }
}

// The enclave goes on opening the keys meanwhile, so the next try there finds them open.
void Router::OnRehydrateTimeout(EnclaveLink& link, SignCall* first) {
  Retry(link, first, RetryReason::kRehydrateTimeout, ErrorCode::kUnlockRequired);
}

void Router::Retry(EnclaveLink& from, SignCall* first, RetryReason reason, ErrorCode otherwise) {
  const MonotonicTime now = clock_.Now();
  Sorted sorted(fleet_.table());
  CallList given_up;
  std::size_t repeated = 0;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    std::optional<std::size_t> member;
    if (!stopping_ && MayRetry(*call, now)) {
      member = FindRetryTarget(
          sorted.table().ring, sorted.table().members, *call, from.id(), reason,
          [&](const Fleet::Member& other) { return unlocker_.Holds(other.id(), call->key_id); });
    }
    if (member && !retry_budget_.TryWithdraw()) {
      retries_refused_.Increment();
      member.reset();
    }
    if (!member) {
      given_up.Append(call);
      continue;
    }
    CountRetry(*call, from.id(), now);
    sorted.Append(*member, call);
    ++repeated;
  }
  if (repeated > 0) {
    retried_[static_cast<std::size_t>(reason)]->Increment(static_cast<double>(repeated));
    if (reason != RetryReason::kRehydrateTimeout)
      cross_enclave_.Increment(static_cast<double>(repeated));
  }
  FailAll(given_up.first(), otherwise);
  sorted.SendAll();
}

// Only while another enclave could do better, as much as the budget allows: those that are not
// taken back go on waiting.
void Router::TimeOutTries(const Fleet::Table& table, MonotonicTime now) {
  const auto take_back = [&](const std::shared_ptr<EnclaveLink>& link) {
    const bool another = std::ranges::any_of(table.members, [&](const auto& other) {
      return other->link() != link && other->available();
    });
    const std::size_t left = retry_budget_.left();
    if (another && left > 0) link->pool().TakeBack(now - kPerTryTimeout, left);
  };
  for (const auto& member : table.members) take_back(member->link());
  for (const auto& link : table.retiring) take_back(link);
}

// ---- Blobs -----------------------------------------------------------------------------------

void Router::OnNeedBlob(EnclaveLink& link, SignCall* first) {
  CoalescingFetch::Asked asked;
  {
    MutexLock lock(mutex_);
    asked = blob_fetch_.AskAll(link.id(), first, clock_.Now());
    deferred_.AppendAll(asked.later);
  }
  FailAll(asked.given_up.first(), ErrorCode::kRetryLater);
  if (!asked.repeat.empty()) link.pool().Sign(asked.repeat.first());
  for (const KeyId& key_id : asked.to_fetch) FetchBlob(link, key_id);
}

void Router::FetchBlob(EnclaveLink& link, const KeyId& key_id) {
  store_.FindKey(key_id, [this, link = link.shared_from_this(),
                          key_id](absl::StatusOr<std::optional<KeyRow>> row) {
    if (!row.ok()) return SendBlob(*link, key_id, nullptr, StoreError(row.status()).code);
    if (!row->has_value() || !(*row)->enabled) {
      return SendBlob(*link, key_id, nullptr, ErrorCode::kInvalidKey);
    }
    SendBlob(*link, key_id, &(*row)->blob, ErrorCode::kRetryLater);
  });
}

void Router::SendBlob(EnclaveLink& link, const KeyId& key_id, const Bytes* blob,
                      ErrorCode otherwise) {
  SignCall* first = nullptr;
  {
    MutexLock lock(mutex_);
    first = blob_fetch_.TakeWaiting(link.id(), key_id, blob != nullptr, clock_.Now());
  }
  if (first == nullptr) return;
  if (blob == nullptr) return FailAll(first, otherwise);
  SignCall* rest = link.pool().SignWithBlob(first, *blob);
  if (rest != first) blobs_sent_.Increment();
  if (rest == nullptr) return;
  if (rest != first) return link.pool().Sign(rest);  // the blob is under way
  link.connected() ? FailAll(first, otherwise) : OnLost(link, first);
}

// ---- Links -----------------------------------------------------------------------------------

void Router::OnLinkConnected(EnclaveLink& link) { unlocker_.Attach(link.shared_from_this()); }

void Router::OnLinkLost(EnclaveLink& link) { unlocker_.Detach(link); }

// Renewing is opening: the enclave knows that what is past its soft TTL means a call to KMS.
void Router::OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) {
  for (const DekId& dek_id : deks) unlocker_.Want(link, dek_id);
}

void Router::OnSealingDekFailed(EnclaveLink&, UnlockCause cause) { unlocker_.CountFailure(cause); }

void Router::RetryRefused() {
  unlocker_.RetryRefused();
  const std::shared_ptr<const Fleet::Table> table = fleet_.table();
  for (const auto& member : table->members) member->link()->RetryRefused();
}

void Router::LookAtCredentials(MonotonicTime now) {
  if (now < next_credentials_look_) return;
  next_credentials_look_ = now + kCredentialsLookInterval;
  const FileStamp stamp = FileStamp::Of(options_.credentials_file);
  if (stamp != std::exchange(credentials_, stamp)) RetryRefused();
}

void Router::Tick(MonotonicTime now) {
  const bool late = now - std::exchange(last_tick_, now) >= kLateTick;
  retry_budget_.Tick(now);
  const std::shared_ptr<const Fleet::Table> table = fleet_.table();
  for (const auto& member : table->members) member->link()->pool().Expire(now);
  for (const auto& link : table->retiring) link->pool().Expire(now);
  if (!late) TimeOutTries(*table, now);
  fleet_.Tick(now, [this](const EnclaveLink& link) { return unlocker_.settled(link); });
  disabled_.Tick(now);
  LookAtCredentials(now);
  unlocker_.Tick(now);
  SignCall* deferred = nullptr;
  SignCall* expired = nullptr;  // the store is slow
  {
    MutexLock lock(mutex_);
    blob_fetch_.Prune(now);
    expired = blob_fetch_.TakeExpired(now);
    deferred = std::exchange(deferred_, {}).first();
  }
  FailAll(expired, ErrorCode::kUnavailable);
  if (deferred != nullptr) Route(deferred);
}

// ---- Keys ------------------------------------------------------------------------------------

void Router::Create(CreateCall call, KeyDone done) {
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
void Router::MakeKey(CreateCall call, KeyDone done, bool again) {
  if (const StoreFault fault = store_.fault(); fault != StoreFault::kNone) {
    return done(CannotStore(fault), {});  // no enclave's work for what cannot be kept
  }
  const KeyId key_id = KeyId::New(clock_.WallNow());
  const std::shared_ptr<const Fleet::Table> table = fleet_.table();
  const MonotonicTime deadline = call.deadline;
  auto maker = std::make_shared<std::uint32_t>();  // the enclave's id
  EnclaveStream::CreateDone made = [this, maker, key_id, again, call = std::move(call), done](
                                       ErrorCode error, CreateReply reply) mutable {
    if (error == ErrorCode::kUnavailable && !again && !stopping_ && clock_.Now() < call.deadline &&
        retry_budget_.TryWithdraw()) {
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

Error Router::CannotMakeKeys(ErrorCode code) const {
  if (code != ErrorCode::kUnavailable) return {code, ""};
  std::string refused;
  for (const Fleet::Status& enclave : fleet_.statuses()) {
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

void Router::StoreKey(std::uint32_t enclave, const KeyId& key_id, CreateCall call,
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
                  unlocker_.Share(enclave, dek_id);
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

}  // namespace bulla
