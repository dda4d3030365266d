#pragma once

// The keys of one shard: what there is of each, in how much memory, until when. What may be done
// with a key is not decided here but in key_state.h; this finds the facts, asks the table, and does
// what it says.
//
// A COOL key is 144 bytes and its place in one hash table. What a WARM key has more (its point, its
// deadlines, its uses) is in a part of its own, found through a second table that has the WARM keys
// only: a signature's search costs what the keys in use cost, however many lie here. The 32 secret
// bytes are in locked memory (crypto/secret_arena.h), and leave it as a copy on the stack of
// whoever signs.

#include <cstdint>
#include <memory>
#include <vector>

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/slab.h"
#include "base/timer_wheel.h"
#include "crypto/secret.h"
#include "crypto/secret_arena.h"
#include "crypto/signer.h"
#include "enclave/dek_table.h"
#include "enclave/key_state.h"
#include "enclave/single_flight.h"
#include "kms/sealed_key.h"
#include "wire/key_policy.h"

namespace bulla {

using SealedBlob = ByteArray<kSealedKeyBytes>;

// What a signature needs: a private copy of the plain key, and the point to check it with.
struct KeyLease {
  Secret<32> secret;
  PublicPoint point;
};

// What a flight brings back.
struct OpenedSecret {
  Secret<32> secret;
  PublicPoint point;
  std::shared_ptr<const DekValidity> dek;
};

// Not thread-safe: the key cache guards it. Time and randomness are parameters.
class KeyShard {
 public:
  // What became of a signature that was asked for.
  enum class Verdict : std::uint8_t {
    kGranted,            // sign with the lease
    kGrantedAndLeading,  // the same; then open the key, whose flight this call has begun
    kWaiting,            // it is taken in as a waiter
    kLeading,            // the same; the caller is to open the key, whose flight has begun
    kRefused,            // answer with the status
  };
  struct Answer {
    Verdict verdict = Verdict::kRefused;
    ItemStatus status = ItemStatus::kOk;  // for kRefused
  };

  // A flight's waiters. Each is to be asked for again (Sign) when `status` is kOk, and answered
  // with it when not.
  struct Released {
    ItemStatus status = ItemStatus::kOk;
    std::vector<SignTask> tasks;
  };

  struct Counts {
    std::uint64_t warm = 0;
    std::uint64_t cool = 0;
    std::uint64_t invalid = 0;
    std::uint64_t waiters = 0;
    std::uint64_t secrets_evicted = 0;  // wiped for lack of room
    std::uint64_t blobs_evicted = 0;
    std::uint64_t memory_bytes = 0;
    std::uint64_t locked_bytes = 0;
  };

  // For tests and drills.
  struct View {
    KeyState state = KeyState::kAbsent;
    KeyFacts facts;
  };

  // `arena`: slots of 32 bytes, as many as keys can be WARM. `share` is this shard's part of the
  // memory budget. `deks` outlives it.
  KeyShard(MonotonicTime start, std::unique_ptr<SecretArena> arena, const DekTable& deks,
           const KeyPolicy& policy, std::size_t share_bytes);
  ~KeyShard();

  // A signature is asked for. `lease` is filled when it is granted; `make_task` is called when it
  // waits, and not before.
  Answer Sign(const KeyId& id, MonotonicTime now, KeyLease& lease,
              absl::FunctionRef<SignTask()> make_task);

  // Takes in a sealed key as COOL. One that is here already stays as it is.
  void Load(const SealedKeyHeader& header, const SealedBlob& blob, MonotonicTime now);

  // Takes in a key just made, as WARM. One of the same id is forgotten first; false, and nothing is
  // done, while that is being opened.
  bool InsertWarm(const SealedKeyHeader& header, const SealedBlob& blob, const OpenedSecret& opened,
                  MonotonicTime now, std::uint64_t random);

  // Wipes and forgets a key, whatever its state. A flight after it goes on, and finds nothing when
  // it ends.
  void Forget(const KeyId& id);

  // For whoever leads a flight: the blob to open. False when it is gone (then LandFailed).
  bool BlobOf(const KeyId& id, SealedBlob& blob) const;

  // The ends of a flight. `random` spreads the time of the next refresh.
  Released CompleteFlight(const KeyId& id, const OpenedSecret& opened, MonotonicTime now,
                          std::uint64_t random);
  // `status` says why: kRefused when the blob does not open, anything else when that may pass.
  Released LandFailed(const KeyId& id, ItemStatus status, MonotonicTime now);

  // Wipes what is due, gives back the waiters whose wait is over, and makes room where a budget was
  // lowered.
  void Advance(MonotonicTime now, std::vector<SignTask>& rehydrate_timeout);
  // Only the waiters, which are looked after more often.
  void AdvanceWaiters(MonotonicTime now, std::vector<SignTask>& rehydrate_timeout) {
    flights_.Advance(now, rehydrate_timeout);
  }

  // What is tighter in it holds for the keys that are here already. After the DekTable's.
  void SetPolicy(const KeyPolicy& policy, std::size_t share_bytes);

  Counts CountsAt(MonotonicTime now) const;
  // The WARM keys, in no order.
  void AppendKeysInUse(std::vector<KeyId>& out) const;
  std::size_t waiters() const { return flights_.waiters(); }
  std::size_t keys_max() const { return keys_max_; }
  View ViewOf(const KeyId& id, MonotonicTime now) const;
  const SecretArena& arena() const { return *arena_; }

 private:
  static constexpr std::uint32_t kNone = Slab<int>::kNone;

  struct Key {
    SealedBlob blob;
    bool idle = false;           // in idle_
    std::uint32_t warm = kNone;  // in warm_
    LruLinks lru;
  };
  static_assert(sizeof(Key) <= 144, "there may be ten million");

  struct WarmPart : TimerNode {
    KeyId id;
    PublicPoint point;
    std::shared_ptr<const DekValidity> dek;
    MonotonicTime opened_at;
    MonotonicTime refresh_at;
    MonotonicTime hard_deadline;
    MonotonicTime used_at;  // when it moved in the LRU list last
    std::uint32_t uses_left = 0;
    std::uint32_t low_water_mark = 0;
    std::uint32_t secret = 0;  // slot of arena_
    std::uint32_t key = kNone;
    LruLinks lru;
  };

  // The keys under one DEK.
  struct DekCounts {
    std::uint64_t keys = 0;
    std::uint64_t warm = 0;
  };

  KeyFacts FactsOf(const KeyId& id, MonotonicTime now) const;
  // The action for `event`; wipes a spent plain key that is in its way.
  KeyAction ActionFor(const KeyId& id, KeyEvent event, MonotonicTime now);

  void Grant(const KeyId& id, MonotonicTime now, KeyLease& lease);
  void TakeBlob(const SealedKeyHeader& header, const SealedBlob& blob, MonotonicTime now);
  void TakeSecret(const KeyId& id, const OpenedSecret& opened, MonotonicTime now,
                  std::uint64_t random);
  // The slot and index of a new WARM part; others are evicted for it.
  WarmPart& NewWarmPart(const KeyId& id, MonotonicTime now);
  void Wipe(const KeyId& id);
  void ForgetBlob(const KeyId& id);  // of one without a plain key
  std::vector<SignTask> EndFlight(const KeyId& id);
  // Has idle_ say whether this key could be forgotten: no plain key, no flight.
  void UpdateIdle(const KeyId& id);
  void Rearm(WarmPart& part);
  void EvictSecret(MonotonicTime now);
  void EvictKey(MonotonicTime now);
  void SetRoom(std::size_t share_bytes);

  const std::unique_ptr<SecretArena> arena_;
  const DekTable& deks_;
  KeyPolicy policy_;
  std::size_t keys_max_ = 0;
  std::size_t warm_max_ = 0;

  Slab<Key> keys_;
  LruList<Key> idle_{keys_};  // no plain key, and no flight after one
  absl::flat_hash_map<KeyId, std::uint32_t> key_by_id_;
  Slab<WarmPart> warm_;
  LruList<WarmPart> in_use_{warm_};
  absl::flat_hash_map<KeyId, std::uint32_t> warm_by_id_;
  absl::flat_hash_map<DekId, DekCounts> by_dek_;
  TimerWheel wheel_;
  SingleFlight flights_;
  std::uint64_t secrets_evicted_ = 0;
  std::uint64_t blobs_evicted_ = 0;
};

}  // namespace bulla
