#pragma once

// The gateway's connection to one enclave: a pool of long-lived streams, each on a connection of
// its own, and one control connection. A thread of its own connects, greets, sees to it that the
// enclave's sealing DEK is durable before the link counts as ready, probes, tells the enclave which
// key policy is wanted, replaces streams that are lost, and connects again when the enclave is. No
// signature ever waits for a connection to be made.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <absl/container/flat_hash_set.h>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/unlock_cause.h"
#include "gateway/link/disabled_keys.h"
#include "gateway/link/enclave_report.h"
#include "gateway/link/forgetting.h"
#include "gateway/link/link_events.h"
#include "gateway/link/stream_pool.h"
#include "store/key_store.h"
#include "wire/address.h"
#include "wire/enclave.grpc.pb.h"
#include "wire/key_policy.h"

namespace bulla {

// Thread-safe.
class EnclaveLink final : public std::enable_shared_from_this<EnclaveLink> {
 public:
  struct Options {
    Address address;
    std::uint32_t id = 0;  // no other link of this process ever has it
    StreamPool::Options pool;
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

  EnclaveLink(Options options, LinkEvents& events, KeyStore& store, const DisabledKeys& disabled,
              PoolMetrics& pool_metrics, const Clock& clock);
  ~EnclaveLink();

  void Start();
  // Closes every stream, gives back what is in flight, joins. Idempotent.
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
  absl::StatusOr<KeysInUse> KeysInUseBlocking(std::uint32_t part) BULLA_EXCLUDES(mutex_);
  // Of the enclave last greeted; empty before.
  std::string boot_id() const BULLA_EXCLUDES(mutex_);

  // What is asked of the enclave from now on, and again each time it is connected. Does not block:
  // the link's own thread does the asking, so that two policies cannot overtake each other.
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

  void Run();
  // Everything from dialling to open streams.
  absl::Status ConnectBlocking();
  // Returns when the enclave is lost, with the reason, or at Stop().
  absl::Status SuperviseBlocking();
  absl::StatusOr<wire::v1::HelloReply> HelloBlocking();
  // FAILED_PRECONDITION when it has made keys for another store: this one does not have them.
  absl::Status CheckStore(const wire::v1::HelloReply& hello) BULLA_EXCLUDES(mutex_);
  // Asks for the key policy. A refusal is told and no error: the enclave keeps what it had.
  absl::Status ConfigureBlocking() BULLA_EXCLUDES(mutex_);
  absl::StatusOr<wire::v1::SealingDek> ObtainSealingDekBlocking();
  absl::StatusOr<DekId> StoreSealingDekBlocking(const wire::v1::SealingDek& dek);
  absl::Status SealUnderBlocking(const DekId& dek_id) BULLA_EXCLUDES(mutex_);
  // The same in the background, since KMS may take its time: the enclave has said that it needs
  // another one. The last step is Supervise's.
  void RenewSealingDek() BULLA_EXCLUDES(mutex_);
  void SealingDekStored(const absl::StatusOr<DekId>& dek_id) BULLA_EXCLUDES(mutex_);
  // Begins an Unlock with the credentials that are in the file now. `done` is called exactly once.
  using UnlockDone = std::function<void(absl::Status, const wire::v1::UnlockReply&)>;
  void StartUnlock(wire::v1::UnlockRequest request, UnlockDone done) BULLA_EXCLUDES(mutex_);
  absl::Status ProbeBlocking();
  // Tells the enclave of disabled keys, a round's worth of them.
  absl::Status ForgetBlocking();
  // Counts and shows that there was no DEK to seal under.
  void SealingDekFailed(const absl::Status& status) BULLA_EXCLUDES(mutex_);
  void UpdateHitRate() BULLA_REQUIRES(mutex_);
  // Opens those that are missing.
  absl::Status OpenStreamsBlocking() BULLA_EXCLUDES(mutex_);
  void AwaitAnswersBlocking();
  void Disconnect();
  // Waits for `time`, or until Stop().
  void WaitFor(std::chrono::milliseconds time) BULLA_EXCLUDES(mutex_);
  bool stopping() const BULLA_EXCLUDES(mutex_);
  bool retiring() const BULLA_EXCLUDES(mutex_);
  // The control connection; null only between Disconnect() and the next dial.
  std::shared_ptr<wire::v1::Enclave::Stub> control() const BULLA_EXCLUDES(mutex_);

  const Options options_;
  LinkEvents& events_;
  KeyStore& store_;
  const Clock& clock_;
  std::atomic<bool> connected_{false};
  std::atomic<bool> retired_{false};
  StreamPool pool_;
  Forgetting forgetting_;  // the thread's own

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ BULLA_GUARDED_BY(mutex_) = false;
  bool retiring_ BULLA_GUARDED_BY(mutex_) = false;
  bool streams_missing_ BULLA_GUARDED_BY(mutex_) = false;
  KeyPolicy key_policy_ BULLA_GUARDED_BY(mutex_);
  bool forget_soon_ BULLA_GUARDED_BY(mutex_) = false;
  bool retry_now_ BULLA_GUARDED_BY(mutex_) = false;       // ends the wait between two tries
  bool policy_changed_ BULLA_GUARDED_BY(mutex_) = false;  // and not yet asked for
  // Those of the unlocks under way: cancelled when the enclave is lost.
  absl::flat_hash_set<grpc::ClientContext*> unlocks_ BULLA_GUARDED_BY(mutex_);
  bool renewing_sealing_dek_ BULLA_GUARDED_BY(mutex_) = false;
  std::optional<DekId> stored_sealing_dek_ BULLA_GUARDED_BY(mutex_);  // to be sealed under
  MonotonicTime sealing_dek_not_before_ BULLA_GUARDED_BY(mutex_){};
  unsigned sealing_dek_failures_ BULLA_GUARDED_BY(mutex_) = 0;  // in a row
  std::shared_ptr<wire::v1::Enclave::Stub> control_ BULLA_GUARDED_BY(mutex_);
  Status status_ BULLA_GUARDED_BY(mutex_);
  // Of the last probes, the older the less.
  double recent_signatures_ BULLA_GUARDED_BY(mutex_) = 0;
  double recent_misses_ BULLA_GUARDED_BY(mutex_) = 0;
  StreamPool::Outcomes outcomes_seen_ BULLA_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace bulla
