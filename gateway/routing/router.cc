#include "gateway/routing/router.h"

#include <algorithm>
#include <utility>

#include <absl/container/inlined_vector.h>

#include "gateway/call/store_errors.h"

namespace bulla {
namespace {

// A tick that comes this late tells of a gateway that did not run. Its enclaves' answers wait to be
// read: they are not late.
constexpr std::chrono::milliseconds kLateTick{50};

prometheus::Counter& RetryCounter(Metrics& metrics, const std::string& reason) {
  return metrics.AddCounter(
      "retry_total",
      "Signatures retried: an enclave left them unanswered (lost), had the DEK not open (no_dek), "
      "or was still opening the key (rehydrate_timeout)",
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

Router::Router(Parts parts, Metrics& metrics)
    : parts_(std::move(parts)),
      last_tick_(parts_.clock.Now()),
      retried_{&RetryCounter(metrics, "lost"), &RetryCounter(metrics, "no_dek"),
               &RetryCounter(metrics, "rehydrate_timeout")},
      retries_refused_(metrics.AddCounter(
          "bulla_gateway_retry_refusals_total",
          "Signatures that could have been retried and were not: the retry budget was spent")),
      cross_enclave_(metrics.AddCounter(
          "cross_enclave_route_total",
          "Signatures sent to another enclave than the one that the key belongs to")),
      blobs_sent_(metrics.AddCounter("bulla_gateway_blobs_sent_total",
                                     "Sealed keys sent to an enclave that was asked to sign with "
                                     "them and did not have them")) {}

Router::~Router() { Stop(); }

void Router::Stop() {
  stopping_ = true;
  SignCall* deferred = nullptr;
  {
    MutexLock lock(mutex_);
    deferred = std::exchange(deferred_, {}).first();
  }
  FailAll(deferred, ErrorCode::kUnavailable);
}

MonotonicTime Router::SendDue(MonotonicTime now) {
  MonotonicTime next = MonotonicTime::max();
  const std::shared_ptr<const Fleet::Table> table = parts_.fleet.table();
  for (const auto& member : table->members) {
    next = std::min(next, member->link()->pool().SendDue(now));
  }
  for (const auto& link : table->retiring) next = std::min(next, link->pool().SendDue(now));
  return next;
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
  parts_.retry_budget.Deposit(received);
  Route(first);
}

void Router::Route(SignCall* first) {
  const std::shared_ptr<const DisabledKeys::Snapshot> disabled = parts_.disabled.snapshot();
  if (disabled == nullptr) return FailAll(first, ErrorCode::kUnavailable);
  Sorted sorted(parts_.fleet.table());
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
    const ErrorCode error = parts_.unlocker.WantFor(link, call->key_id);
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
  const MonotonicTime now = parts_.clock.Now();
  Sorted sorted(parts_.fleet.table());
  CallList given_up;
  std::size_t retried = 0;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    std::optional<std::size_t> member;
    if (!stopping_ && MayRetry(*call, parts_.settings, now)) {
      member = FindRetryTarget(sorted.table().ring, sorted.table().members, *call, from.id(),
                               reason, [&](const Fleet::Member& other) {
                                 return parts_.unlocker.Holds(other.id(), call->key_id);
                               });
    }
    if (member && !parts_.retry_budget.TryWithdraw()) {
      retries_refused_.Increment();
      member.reset();
    }
    if (!member) {
      given_up.Append(call);
      continue;
    }
    CountRetry(*call, parts_.settings, from.id(), now);
    sorted.Append(*member, call);
    ++retried;
  }
  if (retried > 0) {
    retried_[static_cast<std::size_t>(reason)]->Increment(static_cast<double>(retried));
    if (reason != RetryReason::kRehydrateTimeout)
      cross_enclave_.Increment(static_cast<double>(retried));
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
    const std::size_t left = parts_.retry_budget.left();
    if (another && left > 0)
      link->pool().TakeBack(now - parts_.settings.per_try_timeout.Get(), left);
  };
  for (const auto& member : table.members) take_back(member->link());
  for (const auto& link : table.retiring) take_back(link);
}

// ---- Blobs -----------------------------------------------------------------------------------

void Router::OnNeedBlob(EnclaveLink& link, SignCall* first) {
  CoalescingFetch::Asked asked;
  {
    MutexLock lock(mutex_);
    asked = blob_fetch_.AskAll(link.id(), first, parts_.clock.Now());
    deferred_.AppendAll(asked.later);
  }
  FailAll(asked.given_up.first(), ErrorCode::kRetryLater);
  if (!asked.resend.empty()) link.pool().Sign(asked.resend.first());
  for (const KeyId& key_id : asked.to_fetch) FetchBlob(link, key_id);
}

void Router::FetchBlob(EnclaveLink& link, const KeyId& key_id) {
  parts_.store.FindKey(key_id, [this, link = link.shared_from_this(),
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
    first = blob_fetch_.TakeWaiting(link.id(), key_id, blob != nullptr, parts_.clock.Now());
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

void Router::OnLinkConnected(EnclaveLink& link) { parts_.unlocker.Attach(link.shared_from_this()); }

void Router::OnLinkLost(EnclaveLink& link) { parts_.unlocker.Detach(link); }

// Renewing is opening: the enclave knows that what is past its soft TTL means a call to KMS.
void Router::OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) {
  for (const DekId& dek_id : deks) parts_.unlocker.Want(link, dek_id);
}

void Router::OnSealingDekFailed(EnclaveLink&, UnlockCause cause) {
  parts_.unlocker.CountFailure(cause);
}

// ---- Time ------------------------------------------------------------------------------------

void Router::Tick(MonotonicTime now) {
  const bool late = now - std::exchange(last_tick_, now) >= kLateTick;
  SignCall* deferred = nullptr;
  {
    MutexLock lock(mutex_);
    deferred = std::exchange(deferred_, {}).first();
  }
  // Before Expire(), which gives up those that are past their deadline by now.
  if (deferred != nullptr) Route(deferred);
  const std::shared_ptr<const Fleet::Table> table = parts_.fleet.table();
  for (const auto& member : table->members) member->link()->pool().Expire(now);
  for (const auto& link : table->retiring) link->pool().Expire(now);
  if (!late) TimeOutTries(*table, now);
  SignCall* expired = nullptr;  // the store is slow
  {
    MutexLock lock(mutex_);
    blob_fetch_.Prune(now);
    expired = blob_fetch_.TakeExpired(now);
  }
  FailAll(expired, ErrorCode::kUnavailable);
}

}  // namespace bulla
