#pragma once

// The gateway's connection to one enclave: a pool of long-lived streams, each on a connection of
// its own, and one control connection. It connects, greets, sees to it that the enclave's sealing
// DEK is durable before the link counts as ready, probes, tells the enclave which key policy is
// wanted, replaces streams that are lost, and connects again when the enclave is. No signature ever
// waits for a connection to be made.
//
// All of that happens in steps: Step() does what has come and what is due, and never waits but to
// dial. Whatever comes from elsewhere (answers, wishes) is left for it and wakes the link's timer.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/unlock_cause.h"
#include "gateway/link/disabled_keys.h"
#include "gateway/link/environment.h"
#include "gateway/link/forgetting.h"
#include "gateway/link/link_events.h"
#include "gateway/link/stream_pool.h"
#include "store/key_store.h"
#include "wire/address.h"
#include "wire/enclave_report.h"
#include "wire/key_policy.h"

namespace bulla::wire::v1 {
class HelloReply;
class ProbeReply;
class UnlockReply;
class UnlockRequest;
}  // namespace bulla::wire::v1

namespace bulla {

// Thread-safe.
class EnclaveLink final : public std::enable_shared_from_this<EnclaveLink> {
 public:
  struct Options {
    Address address;
    std::uint32_t id = 0;  // no other link of this process ever has it
    std::string credentials_file;
    std::string platform{kNitro};  // the gateway's; an enclave that owns to another is not served
    KeyPolicy key_policy = NothingWanted();  // until SetKeyPolicy() says otherwise
    // Take it though it has served another key store.
    bool adopt = false;
    // An enclave that does not answer a probe within two seconds is as good as gone.
    std::chrono::milliseconds probe_interval{1000};
  };

  struct Status {
    std::uint32_t id = 0;
    std::string address;
    bool connected = false;
    std::string boot_id;   // of the enclave last greeted; empty before
    std::string platform;  // "nitro" or "simulated"
    std::size_t streams_open = 0;
    std::size_t in_flight = 0;
    std::uint64_t reconnects = 0;
    std::uint64_t stream_resets = 0;  // since the start
    double sticky_hit_rate = 1;       // signatures that found their key there, of the last seconds
    std::string last_error;
    std::string foreign_store;            // that it has served, and not this one; else empty
    std::string sealing_refused;          // by KMS, and why; empty when it was not
    std::string policy_refused;           // the enclave's reason; empty when it took the policy
    std::optional<EnclaveReport> report;  // of the last probe; nothing before the first
    double worker_busy_ratio = 0;         // between the last two probes
  };

  EnclaveLink(Options options, const LinkSettings& settings, LinkEvents& events, KeyStore& store,
              const DisabledKeys& disabled, PoolMetrics& pool_metrics,
              const Environment& environment);
  ~EnclaveLink();

  void Start();
  // Closes every stream, gives back what is in flight, waits for all of that. Idempotent.
  void Stop() BULLA_EXCLUDES(mutex_);
  // The same without waiting, once what is in flight is answered or kRetirePatience is over. Then
  // retired() is true. For a link to which nothing is sent any more.
  void Retire() BULLA_EXCLUDES(mutex_);
  bool retired() const { return retired_.load(std::memory_order_acquire); }

  std::uint32_t id() const { return options_.id; }
  const Address& address() const { return options_.address; }
  const std::string& name() const { return options_.address.ToString(); }
  bool connected() const { return connected_.load(std::memory_order_acquire); }
  // The way to the enclave, for signatures and new keys.
  StreamPool& pool() { return pool_; }
  const StreamPool& pool() const { return pool_; }

  // Has the enclave open a DEK by KMS Decrypt. `done` is called exactly once, on any thread.
  void OpenDek(const DekRow& dek, std::function<void(absl::Status)> done) BULLA_EXCLUDES(mutex_);

  // A part of the keys in use there, from 0 on; `parts` is how many parts there are.
  struct KeysInUse {
    std::vector<KeyId> keys;
    std::uint32_t parts = 0;
  };
  // `done` is called exactly once, on any thread.
  void AskKeysInUse(std::uint32_t part, std::function<void(absl::StatusOr<KeysInUse>)> done)
      BULLA_EXCLUDES(mutex_);
  // Of the enclave last greeted; empty before.
  std::string boot_id() const BULLA_EXCLUDES(mutex_);

  // What is asked of the enclave from now on, and again each time it is connected. Does not block:
  // the link's steps do the asking, so that two policies cannot overtake each other.
  void SetKeyPolicy(const KeyPolicy& policy) BULLA_EXCLUDES(mutex_);

  // Keys were disabled: the enclave is told soon. Does not block.
  void ForgetSoon() BULLA_EXCLUDES(mutex_);
  // Something has changed that may have been why KMS refused a DEK to seal under: asks again now.
  void RetryRefused() BULLA_EXCLUDES(mutex_);

  Status status() const BULLA_EXCLUDES(mutex_);

 private:
  static constexpr std::chrono::milliseconds kRetirePatience{2000};

  // The pool has fewer streams than it wants.
  void OnMissing() BULLA_EXCLUDES(mutex_);

  enum class State {
    kApart,       // nothing is connected; the next try is at next_try_
    kConnecting,  // from the dial to open streams
    kServing,
    kRetiring,  // until what is in flight is answered
    kLeaving,   // until nothing is under way any more
    kEnded,
  };

  // Does what has come and what is due. Returns when to call it again.
  MonotonicTime Step() BULLA_EXCLUDES(mutex_);
  void DoWhatCame() BULLA_EXCLUDES(mutex_);

  // ---- Connecting: each continues when the one before was answered.
  void Connect() BULLA_EXCLUDES(mutex_);
  void OnHello(absl::StatusOr<wire::v1::HelloReply> reply) BULLA_EXCLUDES(mutex_);
  absl::Status CheckHello(const wire::v1::HelloReply& hello) BULLA_EXCLUDES(mutex_);
  // FAILED_PRECONDITION when it has made keys for another store: this one does not have them.
  absl::Status CheckStore(const wire::v1::HelloReply& hello) BULLA_EXCLUDES(mutex_);
  // Asks for the key policy. A refusal is told and no error: the enclave keeps what it had.
  void Configure() BULLA_EXCLUDES(mutex_);
  void OnConfigured(const absl::Status& status) BULLA_EXCLUDES(mutex_);
  void ObtainSealingDek() BULLA_EXCLUDES(mutex_);
  void StoreSealingDek(absl::StatusOr<DekRow> row) BULLA_EXCLUDES(mutex_);
  void SealUnder(const DekId& dek_id) BULLA_EXCLUDES(mutex_);
  void OnSealedUnder(const DekId& dek_id, const absl::Status& status) BULLA_EXCLUDES(mutex_);
  // Opens those that are missing.
  absl::Status OpenStreamsBlocking() BULLA_EXCLUDES(mutex_);
  void Connected() BULLA_EXCLUDES(mutex_);

  // ---- Serving.
  // The next thing to do. Returns when there will be one; now when it has done one.
  MonotonicTime Serve(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  void Probe() BULLA_EXCLUDES(mutex_);
  void OnProbed(const wire::v1::ProbeReply& reply) BULLA_EXCLUDES(mutex_);
  // Tells the enclave of disabled keys: at most so many calls.
  void Forget(int calls_left) BULLA_EXCLUDES(mutex_);
  void UpdateHitRate() BULLA_REQUIRES(mutex_);
  // The enclave has said that it needs another one: obtained in the background, since KMS may take
  // its time. The last step is Serve's.
  void RenewSealingDek() BULLA_EXCLUDES(mutex_);
  void SealingDekStored(const absl::StatusOr<DekId>& dek_id) BULLA_EXCLUDES(mutex_);
  // Counts and shows that there was no DEK to seal under.
  void SealingDekFailed(const absl::Status& status) BULLA_EXCLUDES(mutex_);

  // ---- Leaving.
  // The connection is lost, could not be made, or is wanted no more.
  void Lose(absl::Status reason) BULLA_EXCLUDES(mutex_);
  // True when nothing is under way any more.
  bool HasLeft() BULLA_EXCLUDES(mutex_);
  void Left(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  std::chrono::milliseconds Backoff(int attempt, const absl::Status& failure);

  // ---- Calls.
  template <typename Reply>
  using Then = std::function<void(absl::StatusOr<Reply>)>;
  // A completion that has the next step call `then`, unless the link has given up waiting for it.
  // One at a time.
  template <typename Reply>
  Then<Reply> Await(Then<Reply> then) BULLA_EXCLUDES(mutex_);
  // A completion that counts as under way until it is called.
  template <typename Reply>
  Then<Reply> Counted(Then<Reply> done) BULLA_EXCLUDES(mutex_);
  void Leave(std::function<void()> for_next_step) BULLA_EXCLUDES(mutex_);
  void Wake() BULLA_REQUIRES(mutex_);
  // Begins an Unlock with the credentials that are in the file now. `done` is called exactly once.
  void StartUnlock(wire::v1::UnlockRequest request, Then<wire::v1::UnlockReply> done)
      BULLA_EXCLUDES(mutex_);
  bool stopping() const BULLA_EXCLUDES(mutex_);
  // The control connection; null from Lose() to the next dial.
  std::shared_ptr<ControlConnection> control() const BULLA_EXCLUDES(mutex_);

  const Options options_;
  LinkEvents& events_;
  KeyStore& store_;
  const Environment environment_;
  const Clock& clock_;
  std::atomic<bool> connected_{false};
  std::atomic<bool> retired_{false};
  StreamPool pool_;

  // The steps' own.
  State state_ = State::kApart;
  Forgetting forgetting_;
  std::optional<DekRow> greeted_dek_;  // that the enclave had when it was greeted
  std::uint64_t awaited_ = 0;          // the number of the answer that is waited for; 0: none
  std::uint64_t last_awaited_ = 0;
  MonotonicTime answer_by_ = MonotonicTime::max();  // of those that do not see to it themselves
  int attempts_ = 0;                                // to connect, that failed in a row
  absl::Status lost_;                               // why, while it leaves
  MonotonicTime next_try_;
  MonotonicTime next_probe_;
  MonotonicTime reopen_not_before_;
  MonotonicTime retire_by_;

  mutable Mutex mutex_;
  CondVar ended_;
  std::vector<std::function<void()>> came_ BULLA_GUARDED_BY(mutex_);  // for the next step
  std::size_t calls_ BULLA_GUARDED_BY(mutex_) = 0;                    // under way
  bool stopping_ BULLA_GUARDED_BY(mutex_) = false;
  bool retiring_ BULLA_GUARDED_BY(mutex_) = false;
  bool streams_missing_ BULLA_GUARDED_BY(mutex_) = false;
  KeyPolicy key_policy_ BULLA_GUARDED_BY(mutex_);
  bool forget_soon_ BULLA_GUARDED_BY(mutex_) = false;
  bool retry_now_ BULLA_GUARDED_BY(mutex_) = false;       // ends the wait between two tries
  bool policy_changed_ BULLA_GUARDED_BY(mutex_) = false;  // and not yet asked for
  bool renewing_sealing_dek_ BULLA_GUARDED_BY(mutex_) = false;
  std::optional<DekId> stored_sealing_dek_ BULLA_GUARDED_BY(mutex_);  // to be sealed under
  MonotonicTime sealing_dek_not_before_ BULLA_GUARDED_BY(mutex_){};
  unsigned sealing_dek_failures_ BULLA_GUARDED_BY(mutex_) = 0;  // in a row
  std::shared_ptr<ControlConnection> control_ BULLA_GUARDED_BY(mutex_);
  Status status_ BULLA_GUARDED_BY(mutex_);
  // Of the last probes, the older the less.
  double recent_signatures_ BULLA_GUARDED_BY(mutex_) = 0;
  double recent_misses_ BULLA_GUARDED_BY(mutex_) = 0;
  StreamPool::Outcomes outcomes_seen_ BULLA_GUARDED_BY(mutex_);
  std::unique_ptr<Timer> timer_ BULLA_GUARDED_BY(mutex_);  // from Start() on
};

}  // namespace bulla
