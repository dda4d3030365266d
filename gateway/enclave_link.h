#pragma once

// The gateway's connection to one enclave: 16 to 32 long-lived streams, each on a connection of its
// own, and one control connection. A thread of its own connects, greets, sees to it that the
// enclave's sealing DEK is durable before the link counts as ready, probes, tells the enclave which
// key policy is wanted, and connects again after a loss. No signature ever waits for a connection
// to be made.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "gateway/concurrency_limit.h"
#include "gateway/enclave_report.h"
#include "gateway/enclave_stream.h"
#include "gateway/sign_batcher.h"
#include "store/key_store.h"
#include "wire/address.h"
#include "wire/enclave.grpc.pb.h"
#include "wire/key_policy.h"

namespace bulla {

class EnclaveLink;

// What a link tells the router. Called on gRPC's threads or the link's own; must not block.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;
  virtual void OnNeedBlob(EnclaveLink& link, SignCall* first) = 0;
  virtual void OnNeedDek(EnclaveLink& link, SignCall* first) = 0;
  // The link is about to take calls; no DEK but its sealing DEK need be open yet.
  virtual void OnLinkReady(EnclaveLink& link) = 0;
  // The connection is gone, or could not be made. No unlock of the link is under way any more.
  virtual void OnLinkLost(EnclaveLink& link) = 0;
  // The enclave's probe names DEKs past their soft TTL, the same ones again until they are opened.
  virtual void OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) = 0;
  // Signatures are held back to travel together: SendDue() is to be called at `due`.
  virtual void OnWaiting(MonotonicTime due) = 0;
};

// Thread-safe.
class EnclaveLink final : private StreamEvents {
 public:
  struct Options {
    Address address;
    std::size_t index = 0;  // in the ring
    std::size_t streams = 16;
    SignBatcher::Options batch;
    std::string credentials_file;
    KeyPolicy key_policy = NothingWanted();  // until SetKeyPolicy() says otherwise
    // An enclave that does not answer a probe within two seconds is as good as gone.
    std::chrono::milliseconds probe_interval{1000};
  };

  struct Status {
    std::string address;
    bool ready = false;
    std::string boot_id;   // of the enclave last greeted; empty before
    std::string platform;  // "nitro" or "simulated"
    std::size_t streams_open = 0;
    std::size_t in_flight = 0;
    std::size_t in_flight_max = 0;                 // now: see gateway/concurrency_limit
    std::uint64_t refused_over_in_flight_max = 0;  // signatures, since the start
    std::uint64_t reconnects = 0;
    std::string last_error;
    std::string policy_refused;           // the enclave's reason; empty when it took the policy
    std::optional<EnclaveReport> report;  // of the last probe; nothing before the first
    double worker_busy_ratio = 0;         // between the last two probes
  };

  EnclaveLink(Options options, LinkEvents& events, KeyStore& store, const Clock& clock);
  ~EnclaveLink() override;

  void Start();
  // Closes every stream, answers what is in flight, joins. Idempotent.
  void Stop();

  std::size_t index() const { return options_.index; }
  const std::string& name() const { return options_.address.ToString(); }
  bool ready() const { return ready_.load(std::memory_order_acquire); }

  // Each call is answered: with kRetryLater what is over the concurrency limit, and when every
  // stream is full.
  void Sign(SignCall* first) BULLA_EXCLUDES(mutex_, batch_mutex_);
  // Sends what has been held back long enough. Returns when the next is due; max() when nothing
  // waits.
  MonotonicTime SendDue(MonotonicTime now) BULLA_EXCLUDES(mutex_, batch_mutex_);
  // As EnclaveStream's: false when there is no room.
  bool SignWithBlob(SignCall* call, Bytes blob) BULLA_EXCLUDES(mutex_, batch_mutex_);
  bool Create(const KeyId& key_id, MonotonicTime deadline, EnclaveStream::CreateDone done)
      BULLA_EXCLUDES(mutex_);

  // Has the enclave open a DEK by KMS Decrypt. `done` is called exactly once, on any thread.
  void OpenDek(const DekRow& dek, std::function<void(absl::Status)> done) BULLA_EXCLUDES(mutex_);

  // What is asked of the enclave from now on, and again each time it is connected. Does not block:
  // the link's own thread does the asking, so that two policies cannot overtake each other.
  void SetKeyPolicy(const KeyPolicy& policy) BULLA_EXCLUDES(mutex_);

  // Gives up what is past its deadline.
  void Expire(MonotonicTime now);
  Status status() const BULLA_EXCLUDES(mutex_, batch_mutex_);

 private:
  using Streams = std::vector<std::shared_ptr<EnclaveStream>>;

  void OnNeedBlob(SignCall* first) override { events_.OnNeedBlob(*this, first); }
  void OnNeedDek(SignCall* first) override { events_.OnNeedDek(*this, first); }
  void OnAnswered(std::size_t count, MonotonicTime oldest) override
      BULLA_EXCLUDES(mutex_, batch_mutex_);
  void OnStreamClosed() override BULLA_EXCLUDES(mutex_);

  // Sends a frame's worth, or refuses what finds no room, or no stream at all.
  void SendFrame(SignCall* first) BULLA_EXCLUDES(mutex_, batch_mutex_);
  void Run();
  // Everything from dialling to open streams.
  absl::Status ConnectBlocking();
  // Returns when the enclave is lost, with the reason, or at Stop().
  absl::Status SuperviseBlocking();
  absl::StatusOr<wire::v1::HelloReply> HelloBlocking();
  // Asks for the key policy. A refusal is told and no error: the enclave keeps what it had.
  absl::Status ConfigureBlocking() BULLA_EXCLUDES(mutex_);
  absl::Status EnsureSealingDekBlocking();
  absl::Status StoreSealingDekBlocking(const wire::v1::SealingDek& dek);
  absl::Status ProbeBlocking();
  absl::Status OpenStreamsBlocking();
  void Disconnect();
  absl::StatusOr<std::shared_ptr<grpc::Channel>> DialChannelBlocking();
  // Waits for `time`, or until Stop().
  void WaitFor(std::chrono::milliseconds time) BULLA_EXCLUDES(mutex_);
  bool stopping() const BULLA_EXCLUDES(mutex_);
  // The control connection; null only between Disconnect() and the next dial.
  std::shared_ptr<wire::v1::Enclave::Stub> control() const BULLA_EXCLUDES(mutex_);

  // The open streams; the first with room is the right one to ask first: see SendFrame().
  std::shared_ptr<const Streams> streams() const BULLA_EXCLUDES(mutex_);

  const Options options_;
  LinkEvents& events_;
  KeyStore& store_;
  const Clock& clock_;
  std::atomic<bool> ready_{false};

  mutable Mutex batch_mutex_;
  SignBatcher batcher_ BULLA_GUARDED_BY(batch_mutex_);
  ConcurrencyLimit limit_ BULLA_GUARDED_BY(batch_mutex_);
  std::uint64_t refused_over_limit_ BULLA_GUARDED_BY(batch_mutex_) = 0;

  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ BULLA_GUARDED_BY(mutex_) = false;
  bool stream_closed_ BULLA_GUARDED_BY(mutex_) = false;
  KeyPolicy key_policy_ BULLA_GUARDED_BY(mutex_);
  bool policy_changed_ BULLA_GUARDED_BY(mutex_) = false;    // and not yet asked for
  std::size_t streams_alive_ BULLA_GUARDED_BY(mutex_) = 0;  // opened and not yet reported closed
  std::size_t unlocks_under_way_ BULLA_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const Streams> streams_ BULLA_GUARDED_BY(mutex_);
  std::shared_ptr<wire::v1::Enclave::Stub> control_ BULLA_GUARDED_BY(mutex_);
  Status status_ BULLA_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace bulla
