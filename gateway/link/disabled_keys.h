#pragma once

// Which keys are disabled, as the store has it: asked a few times a second, known within a second
// to every signature and to every enclave, whoever disabled the key and by whatever means.
//
// A signature looks its key up in an immutable snapshot: it takes no lock for it, and costs a look
// at a size while nothing is disabled. A change copies the 256th part of the set that it is in.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <absl/container/flat_hash_set.h>

#include "base/clock.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe.
class DisabledKeys {
 public:
  // "In force within a second" leaves three of these for what else there is to do.
  static constexpr std::chrono::milliseconds kAskInterval{250};
  // Changes in one answer of the store's.
  static constexpr std::size_t kPageMax = 4096;
  // Disabled lately, for links that keep up. A link that does not sends all of them again.
  static constexpr std::size_t kRecentMax = 65536;

  class Snapshot {
   public:
    static constexpr std::size_t kParts = 256;
    using Part = absl::flat_hash_set<KeyId>;

    bool Contains(const KeyId& id) const {
      if (size_ == 0) return false;
      const auto& part = parts_[PartOf(id)];
      return part != nullptr && part->contains(id);
    }
    std::size_t size() const { return size_; }
    // Null when it is empty.
    const std::shared_ptr<const Part>& part(std::size_t index) const { return parts_[index]; }

   private:
    friend class DisabledKeys;
    static std::size_t PartOf(const KeyId& id) { return id.bytes[KeyId::kBytes - 1]; }

    std::array<std::shared_ptr<const Part>, kParts> parts_;
    std::size_t size_ = 0;
  };

  DisabledKeys(KeyStore& store, Metrics& metrics);

  // Called on a thread of the store's after keys were disabled. Set it before Tick().
  void OnDisabled(std::function<void()> on_disabled) { on_disabled_ = std::move(on_disabled); }

  // Called every few milliseconds: asks the store when it is time to.
  void Tick(MonotonicTime now) BULLA_EXCLUDES(mutex_);
  // Returns when the store has told all there is, or at the latest after `patience`.
  void AwaitFirst(std::chrono::milliseconds patience) BULLA_EXCLUDES(mutex_);

  // Null until the store has told all there is: nobody knows yet which keys may be signed with.
  std::shared_ptr<const Snapshot> snapshot() const BULLA_EXCLUDES(mutex_);

  // Those that were disabled after `mark` (of an earlier answer), at most `max` of them.
  struct Recent {
    std::vector<KeyId> keys;
    std::uint64_t mark = 0;  // to go on from
    bool missed = false;     // some are not known here any more: look at the snapshot
  };
  Recent Since(std::uint64_t mark, std::size_t max) const BULLA_EXCLUDES(mutex_);
  // To go on from now.
  std::uint64_t mark() const BULLA_EXCLUDES(mutex_);

 private:
  void Ask() BULLA_EXCLUDES(mutex_);
  // Whether there may be more.
  bool Take(const absl::StatusOr<std::vector<KeyChange>>& changes) BULLA_EXCLUDES(mutex_);
  // Whether one of them was enabled until now.
  bool Apply(std::span<const KeyChange> changes) BULLA_REQUIRES(mutex_);

  KeyStore& store_;
  prometheus::Gauge& count_;
  std::function<void()> on_disabled_ = [] {};

  mutable Mutex mutex_;
  CondVar changed_;
  bool asking_ BULLA_GUARDED_BY(mutex_) = false;
  bool complete_ BULLA_GUARDED_BY(mutex_) = false;  // all was told at least once
  bool failing_ BULLA_GUARDED_BY(mutex_) = false;
  MonotonicTime next_ask_ BULLA_GUARDED_BY(mutex_);
  std::int64_t last_change_ BULLA_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const Snapshot> snapshot_ BULLA_GUARDED_BY(mutex_);
  std::deque<KeyId> recent_ BULLA_GUARDED_BY(mutex_);
  std::uint64_t recent_begin_ BULLA_GUARDED_BY(mutex_) = 0;  // the mark of recent_'s first
};

}  // namespace bulla
