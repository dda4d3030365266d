#pragma once

// The gateway's routing on one thread in a time of its own. The rules are the real ones: HashRing,
// OutlierDetector, FindRetryTarget, RetryBudget, ConcurrencyLimit, SignBatcher, CoalescingFetch,
// UnlockQueue. What is restated is how Router, Fleet, StreamPool, EnclaveStream, EnclaveLink and
// Unlocker wire them, in the order of those, with a call for a call where there a thread calls
// another. So a change of that wiring is made here too.
//
// It checks itself at every step: what must never be is told to `wrong`.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gateway/call/call_list.h"
#include "gateway/link/concurrency_limit.h"
#include "gateway/link/sign_batcher.h"
#include "gateway/routing/coalescing_fetch.h"
#include "gateway/routing/hash_ring.h"
#include "gateway/routing/outlier_detector.h"
#include "gateway/routing/retry.h"
#include "gateway/routing/retry_budget.h"
#include "gateway/unlock/queue.h"
#include "tests/simulation/enclave_model.h"

namespace bulla {

class CallModel final : public SignCall {
 public:
  std::uint64_t number = 0;     // the signature that is wanted
  std::uint64_t signed_as = 0;  // the signature that came
  MonotonicTime arrived;
  MonotonicTime promised;  // the caller's deadline: the call's own shrinks when it is repeated
};

class GatewayModel {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds(10);
  static constexpr std::size_t kStreams = 2;
  static constexpr std::size_t kSlots = 256;  // of a stream

  using Wrong = std::function<void(const std::string&)>;
  GatewayModel(World& world, const Keys& keys, Wrong wrong);

  // ---- callers
  void Sign(SignCall* first);

  // ---- operators
  void Add(EnclaveModel& enclave, std::uint32_t weight);
  void Remove(const std::string& name);
  void SetWeight(const std::string& name, std::uint32_t weight);
  bool Has(const std::string& name) const;

  // ---- the world
  void OnKilled(const std::string& name);
  void DelayStore(Duration wait) { store_wait_ = wait; }

  struct Counts {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;  // to enclaves
    std::uint64_t retries = 0;
    std::uint64_t retries_refused = 0;
    std::uint64_t refused_over_limit = 0;
    std::uint64_t ejections = 0;
    std::uint64_t unlocks = 0;
    std::uint64_t blob_loads = 0;
  };
  const Counts& counts() const { return counts_; }
  std::uint64_t sent_to(const std::string& name) const;
  // Every enclave serves, none is ejected, all streams are open, nothing is to be unlocked.
  bool healthy() const;
  std::string Health() const;
  std::size_t in_flight() const;

 private:
  struct Slot {
    std::uint32_t generation = 0;
    SignCall* sign = nullptr;
  };
  struct Stream {
    bool open = false;
    std::uint32_t life = 0;
    std::vector<Slot> slots = std::vector<Slot>(kSlots);
    std::vector<std::uint32_t> free;
    std::size_t in_flight() const { return kSlots - free.size(); }
  };
  // Fleet::Member with its link and pool.
  struct Member {
    Member(std::uint32_t id, EnclaveModel& of, MonotonicTime now);
    const std::uint32_t number;
    EnclaveModel* enclave;
    bool retired = false;
    // The link.
    bool ready = false;
    bool attached = false;  // its DEKs can be opened
    std::uint64_t connection = 0;
    std::size_t unlocks_under_way = 0;
    std::set<std::uint32_t> open_deks;  // as the gateway knows
    // The pool.
    SignBatcher batcher{{}};
    ConcurrencyLimit limit;
    std::array<Stream, kStreams> streams;
    MonotonicTime timer = MonotonicTime::max();
    std::uint64_t answered = 0;
    std::uint64_t unanswered = 0;
    // The fleet's.
    bool prepared = false;
    OutlierDetector outlier_detector;
    std::uint64_t answered_seen = 0;
    std::uint64_t unanswered_seen = 0;
    std::optional<MonotonicTime> connected_at;
    // The checks'.
    std::uint64_t sent = 0;

    std::uint32_t id() const { return number; }
    bool in_service() const { return ready && prepared; }
    bool ejected() const { return outlier_detector.ejected(); }
    bool available() const { return in_service() && !ejected(); }
    bool TryAdmit() { return in_service() && outlier_detector.TryAdmit(); }
    std::size_t in_flight() const;
  };
  using Table = std::vector<Member*>;
  class Sorted;

  // Router
  void Route(SignCall* first);
  void Retry(Member& from, SignCall* first, RetryReason reason, ErrorCode otherwise);
  void TimeOutTries();
  void OnNeedBlob(Member& member, SignCall* first);
  void OnNeedDek(Member& member, SignCall* first);
  void SendBlob(Member& member, std::uint32_t key);
  void FailExpiredLoads();
  void Tick();
  // Fleet
  void Publish();
  void Prepare(Member& member);
  void Judge();
  // StreamPool
  void PoolSign(Member& member, SignCall* first);
  MonotonicTime SendDue(Member& member);
  void WakeBy(Member& member, MonotonicTime due);
  void SendFrame(Member& member, SignCall* first);
  SignCall* PoolSignWithBlob(Member& member, SignCall* first, std::uint32_t key);
  void NoLongerInFlight(Member& member, std::size_t count,
                        MonotonicTime oldest = MonotonicTime::max());
  void OnLost(Member& member, CallList lost, std::size_t count);
  // EnclaveStream
  SignCall* StreamSign(Member& member, std::size_t stream, SignCall* first,
                       std::vector<std::uint32_t> blobs);
  SignCall* ReleaseSlot(Stream& stream, std::uint32_t sequence);
  void OnReplies(Member& member, std::size_t stream, std::uint32_t life,
                 std::optional<std::vector<EnclaveModel::Reply>> replies);
  template <typename IsDue>
  std::pair<CallList, std::size_t> ReleaseIf(Stream& stream, IsDue is_due);
  void Expire(Member& member);
  void LoseStream(Member& member, std::size_t stream);
  // EnclaveLink
  void Connect(Member& member);
  void OpenStreams(Member& member);
  void Probe(Member& member, std::uint64_t connection);
  void LoseLink(Member& member);
  // Unlocker
  void Want(Member& member, std::uint32_t dek);
  void StartUnlocks();
  void FinishUnlock(const UnlockQueue::Task& task, bool opened);
  bool Settled(const Member& member) const;

  void CheckBudget();
  void CheckFleet();
  void CheckPool(const Member& member);
  Member* Find(const std::string& name) const;

  World& world_;
  const Keys& keys_;
  const Wrong wrong_;
  Counts counts_;
  Duration store_wait_ = std::chrono::milliseconds(1);

  RetryBudget retry_budget_;
  CoalescingFetch blob_fetch_;
  CallList deferred_;
  UnlockQueue unlock_queue_;
  std::vector<std::unique_ptr<Member>> members_;  // all that ever were
  Table table_;
  std::vector<std::uint32_t> weights_;
  HashRing ring_{{}};

  // The checks'.
  std::set<UnlockQueue::Task> unlocking_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> fetching_;  // enclave, key
  struct Mark {
    MonotonicTime at;
    std::uint64_t received;
    std::uint64_t retries;
  };
  std::deque<Mark> marks_;  // of the last ten seconds
  std::uint64_t ticks_ = 0;
};

}  // namespace bulla
