#pragma once

// The enclaves of a gateway: which there are, how the keys are shared out among them, and which are
// available now. Enclaves come, go and change weight while signatures flow: whoever routes takes
// the table as it stands, which is immutable and swapped whole.
//
// A weight reaches what it is to be in steps, so that keys move a few at a time and can be loaded
// where they go before they do (gateway/routing/rebalancer). That is so for an enclave that is
// added, for one that is removed, and for one that was restarted and has lost its keys. Only while
// nobody else is in service is there nothing to be gained, and the whole of it is one step.
//
// Two things keep an enclave from being routed to. It is not in service: there is no connection, or
// the data keys in use are not open in it yet. Or it is ejected (gateway/routing/outlier_detector):
// it does not do its work.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "gateway/link/enclave_link.h"
#include "gateway/link/environment.h"
#include "gateway/routing/hash_ring.h"
#include "gateway/routing/outlier_detector.h"

namespace bulla {

struct EnclaveSpec {
  Address address;
  std::uint32_t weight = HashRing::kFullWeight;
  friend bool operator==(const EnclaveSpec& a, const EnclaveSpec& b) {
    return a.address.ToString() == b.address.ToString() && a.weight == b.weight;
  }
};

// Thread-safe.
class Fleet {
 public:
  // How long an enclave that is connected waits for the data keys in use, while others are in
  // service.
  static constexpr std::chrono::seconds kWarmUpTimeout{5};

  // One enclave, from the moment it is added until it is removed and nobody holds it.
  class Member {
   public:
    Member(std::shared_ptr<EnclaveLink> link, MonotonicTime now)
        : link_(std::move(link)), outlier_detector_(now) {}

    const std::shared_ptr<EnclaveLink>& link() const { return link_; }
    std::uint32_t id() const { return link_->id(); }
    bool in_service() const {
      return link_->connected() && warmed_up_.load(std::memory_order_acquire);
    }
    bool ejected() const { return outlier_detector_.ejected(); }
    bool available() const { return in_service() && !ejected(); }
    // Whether a signature may go there now. One that goes as a trial uses that trial up.
    bool TryAdmit() { return in_service() && outlier_detector_.TryAdmit(); }

   private:
    friend class Fleet;

    const std::shared_ptr<EnclaveLink> link_;
    std::atomic<bool> warmed_up_{false};
    OutlierDetector outlier_detector_;
    // The ticking thread's own.
    StreamPool::Outcomes seen_;
    std::optional<MonotonicTime> connected_at_;
    std::string boot_id_;  // of the process that served last
  };

  struct Table {
    HashRing ring{{}};
    std::vector<std::shared_ptr<Member>> members;  // by their index in the ring
    std::vector<std::uint32_t> weights;            // as they are now
    std::vector<std::uint32_t> targets;            // as they are to be
    std::vector<bool> leaving;                     // to be removed when its weight is 0
    // Let go of, and still answering what was under way there. Nothing is sent to them any more.
    std::vector<std::shared_ptr<EnclaveLink>> retiring;
  };

  // From one table to the next, some weights nearer to their targets.
  struct Step {
    std::shared_ptr<const Table> from;
    std::shared_ptr<const Table> to;
  };
  // A weight moves by a tenth of the usual one at a time, a large one by a tenth of itself.
  static constexpr std::uint32_t kSteps = 10;

  struct Status {
    EnclaveLink::Status link;
    std::uint32_t weight = 0;
    std::uint32_t weight_target = 0;
    bool leaving = false;
    bool in_service = false;
    bool ejected = false;
  };

  using MakeLink = std::function<std::shared_ptr<EnclaveLink>(const Address&, std::uint32_t id)>;

  // The links are made by `make_link` and started when they are added.
  Fleet(MakeLink make_link, const Environment& environment);
  ~Fleet();

  std::shared_ptr<const Table> table() const BULLA_EXCLUDES(mutex_);

  // ALREADY_EXISTS, RESOURCE_EXHAUSTED (HashRing::kMembersMax), INVALID_ARGUMENT (weight).
  absl::Status Add(const EnclaveSpec& spec) BULLA_EXCLUDES(mutex_);
  // Its keys go to the others step by step, if it is in service and so are others; then it is let
  // go. NOT_FOUND; FAILED_PRECONDITION when it is in service and no other that has keys is.
  absl::Status Remove(const Address& address) BULLA_EXCLUDES(mutex_);
  // NOT_FOUND, INVALID_ARGUMENT; for a weight of 0 as Remove().
  absl::Status SetWeight(const Address& address, std::uint32_t weight) BULLA_EXCLUDES(mutex_);
  // Adds, removes and changes what differs. The specs' addresses are distinct.
  void Reconcile(const std::vector<EnclaveSpec>& specs) BULLA_EXCLUDES(mutex_);
  // The next step, if there is one to make now; and making it, unless the table has changed
  // meanwhile. For one thread.
  std::optional<Step> NextStep() const BULLA_EXCLUDES(mutex_);
  void Make(const Step& step) BULLA_EXCLUDES(mutex_);
  // Ends every link. Idempotent.
  void Stop() BULLA_EXCLUDES(mutex_);

  // Called every few milliseconds by one thread: ejects outliers, and takes back those that
  // recover. `is_settled` says whether nothing is being opened in an enclave.
  void Tick(MonotonicTime now, const std::function<bool(const EnclaveLink&)>& is_settled)
      BULLA_EXCLUDES(mutex_);

  // Enclaves in service and not ejected.
  std::size_t available() const BULLA_EXCLUDES(mutex_);
  std::vector<Status> statuses() const BULLA_EXCLUDES(mutex_);
  struct Capacity {
    std::size_t in_flight_max = 0;  // signatures that the enclaves in service take together now
    std::uint64_t refused = 0;      // since the start, over their limits, by those that are there
  };
  Capacity capacity() const BULLA_EXCLUDES(mutex_);

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::size_t IndexOf(const Address& address) const BULLA_REQUIRES(mutex_);
  absl::Status AddLocked(const EnclaveSpec& spec) BULLA_REQUIRES(mutex_);
  absl::Status CheckDispensable(std::size_t index) const BULLA_REQUIRES(mutex_);
  void RemoveLocked(std::size_t index) BULLA_REQUIRES(mutex_);
  void SetTarget(std::size_t index, std::uint32_t target, bool leaving) BULLA_REQUIRES(mutex_);
  // Makes the members and their weights the table that is routed by.
  void Publish(Table next) BULLA_REQUIRES(mutex_);
  static std::shared_ptr<const Table> WithRing(Table table);
  void Prepare(const std::shared_ptr<Member>& member, MonotonicTime now, bool settled,
               bool others_serve) BULLA_EXCLUDES(mutex_);
  // It has lost its keys: it begins again without any.
  void RampUp(const Member& member) BULLA_EXCLUDES(mutex_);
  void Judge(const Table& table, MonotonicTime now) const;
  void ReapRetired() BULLA_EXCLUDES(mutex_);

  const MakeLink make_link_;
  const Environment environment_;

  mutable Mutex mutex_;
  std::shared_ptr<const Table> table_ BULLA_GUARDED_BY(mutex_);
  std::uint32_t next_id_ BULLA_GUARDED_BY(mutex_) = 1;
  bool stopped_ BULLA_GUARDED_BY(mutex_) = false;
};

}  // namespace bulla
