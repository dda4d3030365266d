#pragma once

// What an enclave does with keys: make one, take one in, open one, sign with one. This is the only
// code that touches plain keys outside crypto/ and the cache. It owns no thread: workers call it, a
// batch at a time, and open what it asks them to.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "crypto/signer.h"
#include "enclave/dek_table.h"
#include "enclave/enclave_counters.h"
#include "enclave/key_cache.h"
#include "enclave/sign_task.h"
#include "wire/codec.h"

namespace bulla {

// A flight that the caller leads: it is to call Open() with it, and nobody else will.
struct Opening {
  KeyId key_id;
  bool refresh = false;  // nobody waits: the key is usable meanwhile
};

// Thread-safe.
class KeyOperations {
 public:
  // A second source of randomness for new keys, 32 to 256 bytes: NSM GetRandom in production.
  using EntropySource = std::function<absl::StatusOr<Bytes>()>;

  KeyOperations(const Signer& signer, KeyCache& cache, DekTable& deks, EntropySource entropy,
                const Clock& clock);

  // Signs `items`, all of which arrived at `received`, and appends a reply to `replies` for each
  // but those that wait for their keys: they are answered through `sink`. An item whose budget has
  // run out is dropped unsigned. Appends the flights that it has begun to `openings`. The engine's
  // one entry: a single signature is a batch of one.
  void SignBatch(std::span<const SignItem> items, MonotonicTime received,
                 const std::shared_ptr<ReplySink>& sink, std::vector<SignReply>& replies,
                 std::vector<Opening>& openings);

  // Signs what has waited, now that its key should be there. Nothing when it waits again.
  std::optional<SignReply> Resume(const SignTask& task, std::vector<Opening>& openings);

  // Opens a key's blob with its DEK and makes it WARM; success or failure, gives back who waited
  // for that: to be resumed when the status is kOk, to be refused with it when not.
  KeyCache::Released Open(const Opening& opening);

  // The reply to an item that gets no signature; counted.
  SignReply Refusal(const SignItem& item, ItemStatus status);

  // Makes a key with the given id, seals it under the sealing DEK, keeps it WARM.
  CreateReply Create(const CreateItem& item);

  // Takes in a sealed key as COOL. False when it is not a sealed key at all.
  bool Load(ByteSpan blob);

  // Wipes what is due and answers the signatures that have waited long enough. To be called by one
  // thread, as KeyCache::Advance. Returns whether more wait.
  bool Advance();
  // Called whenever a signature begins to wait: Advance() is wanted more often now. Set it before
  // there is work.
  void OnWaiting(std::function<void()> on_waiting) { on_waiting_ = std::move(on_waiting); }

  const Clock& clock() const { return clock_; }
  const EnclaveCounters& counters() const { return counters_; }
  EnclaveCounters& counters() { return counters_; }

 private:
  // Whether the key is leased now. If not, the item is refused (and that is the reply), or waits,
  // as what `make_task` made (and there is none).
  bool Acquire(const SignItem& item, MonotonicTime now, absl::FunctionRef<SignTask()> make_task,
               KeyLease& lease, std::vector<Opening>& openings, std::optional<SignReply>& reply);
  // Of `items`, those whose jobs these are.
  void SignJobs(std::span<const SignItem* const> items, std::span<SigningJob> jobs,
                std::vector<SignReply>& replies);
  KeyCache::Released OpenFailed(const Opening& opening, ItemStatus status);

  const Signer& signer_;
  KeyCache& cache_;
  DekTable& deks_;
  const EntropySource entropy_;
  const Clock& clock_;
  std::function<void()> on_waiting_ = [] {};
  EnclaveCounters counters_;
};

}  // namespace bulla
