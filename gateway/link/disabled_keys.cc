#include "gateway/link/disabled_keys.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace bulla {

DisabledKeys::DisabledKeys(KeyStore& store, Metrics& metrics)
    : store_(store),
      count_(metrics.AddGauge("bulla_gateway_disabled_keys",
                              "Keys that are not signed with because the store says so")) {}

void DisabledKeys::Tick(MonotonicTime now) {
  {
    MutexLock lock(mutex_);
    if (asking_ || now < next_ask_) return;
    asking_ = true;
    next_ask_ = now + kAskInterval;
  }
  Ask();
}

void DisabledKeys::AwaitFirst(std::chrono::milliseconds patience) {
  MutexLock lock(mutex_);
  changed_.WaitFor(mutex_, patience,
                   [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return complete_; });
}

void DisabledKeys::Ask() {
  std::int64_t after = 0;
  {
    MutexLock lock(mutex_);
    after = last_change_;
  }
  store_.ListKeyChanges(after, kPageMax,
                        [this](const absl::StatusOr<std::vector<KeyChange>>& changes) {
                          if (Take(changes)) Ask();
                        });
}

bool DisabledKeys::Take(const absl::StatusOr<std::vector<KeyChange>>& changes) {
  bool disabled = false;
  bool more = false;
  {
    MutexLock lock(mutex_);
    if (changes.ok()) {
      disabled = Apply(*changes);
      more = changes->size() >= kPageMax;
      if (!more) complete_ = true;
    }
    if (failing_ == changes.ok()) {  // what was known stays in force
      failing_ = !changes.ok();
      if (failing_) LogError("disabled_keys_unknown", {{"reason", changes.status().ToString()}});
    }
    asking_ = more;
    changed_.NotifyAll();
  }
  if (disabled) on_disabled_();
  return more;
}

bool DisabledKeys::Apply(std::span<const KeyChange> changes) {
  bool disabled = false;
  if (snapshot_ != nullptr && changes.empty()) return false;
  auto next =
      snapshot_ == nullptr ? std::make_shared<Snapshot>() : std::make_shared<Snapshot>(*snapshot_);
  std::array<std::shared_ptr<Snapshot::Part>, Snapshot::kParts> copies;
  for (const KeyChange& change : changes) {
    last_change_ = std::max(last_change_, change.sequence);
    const std::size_t index = Snapshot::PartOf(change.key_id);
    std::shared_ptr<Snapshot::Part>& part = copies[index];
    if (part == nullptr) {
      const auto& old = next->parts_[index];
      part = old == nullptr ? std::make_shared<Snapshot::Part>()
                            : std::make_shared<Snapshot::Part>(*old);
      next->parts_[index] = part;
    }
    if (change.enabled) {
      next->size_ -= part->erase(change.key_id);
    } else if (part->insert(change.key_id).second) {
      ++next->size_;
      disabled = true;
      recent_.push_back(change.key_id);
    }
  }
  for (; recent_.size() > kRecentMax; recent_.pop_front()) ++recent_begin_;
  count_.Set(static_cast<double>(next->size_));
  snapshot_ = std::move(next);
  return disabled;
}

std::shared_ptr<const DisabledKeys::Snapshot> DisabledKeys::snapshot() const {
  MutexLock lock(mutex_);
  return complete_ ? snapshot_ : nullptr;
}

DisabledKeys::Recent DisabledKeys::Since(std::uint64_t mark, std::size_t max) const {
  MutexLock lock(mutex_);
  if (mark < recent_begin_) return {.mark = mark, .missed = true};
  Recent recent{.mark = mark};
  for (; recent.mark < recent_begin_ + recent_.size() && recent.keys.size() < max; ++recent.mark) {
    recent.keys.push_back(recent_[static_cast<std::size_t>(recent.mark - recent_begin_)]);
  }
  return recent;
}

std::uint64_t DisabledKeys::mark() const {
  MutexLock lock(mutex_);
  return recent_begin_ + recent_.size();
}

}  // namespace bulla
