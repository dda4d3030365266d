#include "gateway/routing/rebalancer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;

// Keys asked of the store at a time: signatures ask it too.
constexpr std::size_t kFetchedAtOnce = 64;
// An enclave whose streams have no room for a blob gets it a little later, or in this time not.
constexpr milliseconds kNoRoomPause{1};
constexpr milliseconds kNoRoomPatience{1000};

}  // namespace

Rebalancer::Rebalancer(Fleet& fleet, KeyStore& store, Metrics& metrics,
                       const Hot<milliseconds>& interval, const Environment& environment)
    : fleet_(fleet),
      store_(store),
      interval_(interval),
      environment_(environment),
      warmed_up_(metrics.AddCounter(
          "bulla_gateway_keys_loaded_ahead_total",
          "Keys in use that were loaded in an enclave before they were routed there")) {}

Rebalancer::~Rebalancer() { Stop(); }

void Rebalancer::Start() {
  next_ = environment_.clock.Now() + interval_.Get();
  timer_ = environment_.timers.Make("rebalancer", [this] { return Step(); });
  timer_->WakeBy(next_);
}

void Rebalancer::Stop() {
  if (timer_ == nullptr) return;
  timer_->Stop();
  MutexLock lock(mutex_);
  all_answered_.Wait(mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return awaited_ == 0; });
}

MonotonicTime Rebalancer::Step() {
  std::optional<absl::StatusOr<EnclaveLink::KeysInUse>> in_use;
  {
    MutexLock lock(mutex_);
    if (awaited_ > 0) return MonotonicTime::max();
    in_use.swap(in_use_);
    std::ranges::move(found_, std::back_inserter(loads_));
    found_.clear();
  }
  if (in_use) TakeInUse(*in_use);
  const MonotonicTime now = environment_.clock.Now();
  switch (state_) {
    case State::kResting:
      return Rest(now);
    case State::kAsking:
      return Ask(now);
    case State::kFetching:
      return Fetch(now);
    case State::kSending:
      break;
  }
  return Send(now);
}

MonotonicTime Rebalancer::Rest(MonotonicTime now) {
  if (now < next_) return next_;
  // What was loaded for it has arrived meanwhile.
  if (step_) fleet_.Make(*step_);
  step_ = fleet_.NextStep();
  if (!step_) return next_ = now + interval_.Get();
  state_ = State::kAsking;
  member_ = 0;
  part_ = 0;
  parts_ = 1;
  count_ = 0;
  return now;
}

MonotonicTime Rebalancer::Ask(MonotonicTime now) {
  if (member_ == step_->from->members.size()) {
    LogInfo("keys_move", {{"loaded_ahead", count_}});
    state_ = State::kResting;
    return next_ = now + interval_.Get();
  }
  const Fleet::Member& member = *step_->from->members[member_];
  if (part_ == parts_ || !member.in_service()) {
    count_ += moves_.size();
    state_ = State::kFetching;
    return now;
  }
  Expect(1);
  member.link()->AskKeysInUse(part_++, [this](absl::StatusOr<EnclaveLink::KeysInUse> in_use) {
    MutexLock lock(mutex_);
    in_use_ = std::move(in_use);
    Answered();
  });
  return MonotonicTime::max();
}

void Rebalancer::TakeInUse(const absl::StatusOr<EnclaveLink::KeysInUse>& in_use) {
  if (!in_use.ok()) {
    LogWarn("keys_in_use_unknown", {{"enclave", step_->from->members[member_]->link()->name()},
                                    {"reason", in_use.status().ToString()}});
    parts_ = part_;
    return;
  }
  parts_ = std::max(in_use->parts, part_);
  for (const KeyId& key_id : in_use->keys) {
    const std::optional<std::size_t> to = step_->to->ring.OwnerOf(key_id);
    // What is in use here and belongs elsewhere already was moved before.
    if (!to || *to == member_ || step_->from->ring.OwnerOf(key_id) != member_) continue;
    const Fleet::Member& taker = *step_->to->members[*to];
    if (taker.in_service()) moves_.push_back({key_id, taker.link()});
  }
}

// A key that cannot be loaded ahead is loaded when it is asked for.
MonotonicTime Rebalancer::Fetch(MonotonicTime now) {
  if (!loads_.empty()) {
    state_ = State::kSending;
    give_up_ = now + kNoRoomPatience;
    return now;
  }
  if (moves_.empty()) {
    state_ = State::kAsking;
    ++member_;
    part_ = 0;
    parts_ = 1;
    return now;
  }
  const std::size_t count = std::min(kFetchedAtOnce, moves_.size());
  Expect(count);
  for (std::size_t i = 0; i < count; ++i) {
    Move move = std::move(moves_.back());
    moves_.pop_back();
    store_.FindKey(move.key_id,
                   [this, to = std::move(move.to)](absl::StatusOr<std::optional<KeyRow>> row) {
                     MutexLock lock(mutex_);
                     if (row.ok() && row->has_value() && (*row)->enabled) {
                       found_.push_back({std::move((*row)->blob), to});
                     }
                     Answered();
                   });
  }
  return MonotonicTime::max();
}

MonotonicTime Rebalancer::Send(MonotonicTime now) {
  while (!loads_.empty()) {
    const Load& load = loads_.back();
    if (load.to->connected() && load.to->pool().Load(load.blob)) {
      warmed_up_.Increment();
    } else if (load.to->connected() && now < give_up_) {
      return now + kNoRoomPause;
    }
    loads_.pop_back();
    give_up_ = now + kNoRoomPatience;
  }
  state_ = State::kFetching;
  return now;
}

void Rebalancer::Expect(std::size_t answers) {
  MutexLock lock(mutex_);
  awaited_ = answers;
}

// Woken under the lock: after it, Stop() may return and this object go.
void Rebalancer::Answered() {
  if (--awaited_ > 0) return;
  timer_->WakeBy(environment_.clock.Now());
  all_answered_.NotifyAll();
}

}  // namespace bulla
