#pragma once

// What may happen to the keys of an enclave, said a second time and as simply as it can be: per key
// when it was opened, what is left of its uses, its deadline; per DEK until when. It knows nothing
// of hash tables, wheels and budgets. What makes room (evictions) it learns by looking, and holds
// against the shards' own counts. Whatever does not fit is a failure of the test that runs.

#include <cstdint>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "enclave/key_shard.h"

namespace bulla {

// Not thread-safe. Keys and DEKs are numbers, from 0.
class KeyModel {
 public:
  KeyModel(std::size_t keys, std::size_t deks, const KeyPolicy& policy)
      : keys_(keys), deks_(deks), policy_(policy) {}

  // To be called before each operation on a key, with what the shard says of it.
  void Look(std::size_t key, const KeyShard::View& view, MonotonicTime now);

  void Asked(std::size_t key, const KeyShard::Answer& answer, MonotonicTime now);
  void Loaded(std::size_t key, std::size_t dek);
  void Inserted(std::size_t key, std::size_t dek, MonotonicTime now);
  void Forgotten(std::size_t key);  // a flight goes on
  // A flight ended with what was opened under this generation of its DEK.
  void FlightCompleted(std::size_t key, std::size_t generation, ItemStatus status,
                       MonotonicTime now);
  void FlightFailed(std::size_t key, ItemStatus given, ItemStatus status);

  void Joined(const SignTask& task, MonotonicTime now);
  void GivenBack(const SignTask& task, bool rehydrate_timeout, MonotonicTime now);

  void DekOpened(std::size_t dek, MonotonicTime asked_at, MonotonicTime now);
  void DeksAdvanced(MonotonicTime now);
  void PolicySet(const KeyPolicy& policy);
  // After an Advance(): nobody waits any more who should not. With the wiping one: the keys whose
  // plain key must be gone by now, to be looked at (their time is over, so Look() says so if not).
  void WaitersAdvanced(MonotonicTime now);
  std::vector<std::size_t> OverBy(MonotonicTime now);

  bool DekOpen(std::size_t dek, MonotonicTime now) const;
  std::size_t GenerationOf(std::size_t dek) const { return deks_[dek].untils.size(); }
  bool blob(std::size_t key) const { return keys_[key].blob; }
  bool flight(std::size_t key) const { return keys_[key].flight; }
  std::size_t flights() const { return flights_; }
  std::size_t waiters() const { return waiters_.size(); }
  std::uint64_t grants() const { return grants_; }
  std::uint64_t secrets_lost() const { return secrets_lost_; }  // though good: evictions
  std::uint64_t blobs_lost() const { return blobs_lost_; }

 private:
  struct Key {
    std::size_t dek = 0;
    bool blob = false;
    bool flight = false;
    MonotonicTime flight_began;
    bool secret = false;        // the rest is of it
    std::uint64_t opening = 0;  // its number
    std::size_t generation = 0;
    MonotonicTime opened_at;
    MonotonicTime hard_deadline;
    MonotonicTime refresh_from;  // not before this,
    MonotonicTime refresh_by;    // but by then
    std::uint64_t uses_left = 0;
    std::uint64_t low_water_min = 0;
    std::uint64_t low_water_max = 0;
  };
  struct Dek {
    bool listed = false;  // not wiped yet
    MonotonicTime asked_at;
    MonotonicTime revived_at;           // renewed when its time was over and it was not yet wiped
    std::vector<MonotonicTime> untils;  // of each generation; a wiped one does not come back
  };
  struct Waiter {
    MonotonicTime wait_until;
    MonotonicTime back_by;
  };
  struct Deadline {
    MonotonicTime at;
    std::size_t key;
    std::uint64_t opening;
    bool operator>(const Deadline& other) const { return at > other.at; }
  };

  void Expect(bool condition, const char* what, std::size_t key);
  MonotonicTime UntilOf(const Key& key) const;  // the end of its plain key
  void Begin(Key& key, MonotonicTime now);
  void End(std::size_t key);
  void Open(std::size_t key, std::size_t generation, MonotonicTime now);
  void Tighten(Key& key) const;

  std::vector<Key> keys_;
  std::vector<Dek> deks_;
  KeyPolicy policy_;
  std::map<std::uint32_t, Waiter> waiters_;  // by sequence
  std::set<std::pair<MonotonicTime, std::uint32_t>> waiters_by_time_;
  std::priority_queue<Deadline, std::vector<Deadline>, std::greater<>> deadlines_;
  std::size_t flights_ = 0;
  std::uint64_t openings_ = 0;
  std::uint64_t grants_ = 0;
  std::uint64_t secrets_lost_ = 0;
  std::uint64_t blobs_lost_ = 0;
};

}  // namespace bulla
