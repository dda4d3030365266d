#include "enclave/key_shard.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace bulla {
namespace {

// Plain keys are wiped within a tick and the distance between two calls of Advance() after their
// time; 100 ms are promised.
constexpr Duration kWheelTick = std::chrono::milliseconds(10);

// Signatures that wait for keys of one shard. One key's 500 callers find room four times over.
constexpr std::size_t kWaitersMax = 2048;

// "Least recently used" is known to the second, so that a signature does not touch its neighbours
// in the list each time.
constexpr Duration kLruResolution = std::chrono::seconds(1);

// Evictions in one call of Advance() after a budget was lowered: some 10 us.
constexpr int kEvictionsPerAdvance = 64;

// What one key takes at most with its places in the tables (21 and 25 bytes, of which a table that
// has just grown uses 7 of 16).
constexpr std::size_t kKeyBytesMax = 256;
constexpr std::size_t kWarmBytesMax = 320;

// A refresh is due this much of its time earlier or later, in parts of a hundred.
constexpr std::int64_t kRefreshJitterPercent = 10;

// The time from opening to refresh: soft TTL less the window, give or take a tenth, and never after
// the soft TTL. Evenly spread over that by `random`.
Duration RefreshAfter(const KeyPolicy& policy, std::uint64_t random) {
  const Duration soft = policy.plain_key_ttl_soft;
  const Duration middle = soft - policy.plain_key_refresh_window;
  const Duration earliest = middle * (100 - kRefreshJitterPercent) / 100;
  const Duration latest = std::min(soft, middle * (100 + kRefreshJitterPercent) / 100);
  const auto width = static_cast<std::uint64_t>((latest - earliest).count()) + 1;
  return earliest + Duration(static_cast<Duration::rep>(random % width));
}

// The same for uses. Never more than half of them, or a key with few would be refreshed all the
// time.
std::uint32_t LowWaterMark(const KeyPolicy& policy, std::uint64_t random) {
  std::uint64_t mark = std::min(policy.plain_key_low_water_mark, policy.plain_key_uses_max / 2);
  std::uint64_t tenth = mark * kRefreshJitterPercent / 100;
  return static_cast<std::uint32_t>(mark - tenth + (random >> 32) % (2 * tenth + 1));
}

DekId DekIdOf(const SealedBlob& blob) { return ParseSealedKey(blob)->dek_id; }

}  // namespace

KeyShard::KeyShard(MonotonicTime start, std::unique_ptr<SecretArena> arena, const DekTable& deks,
                   const KeyPolicy& policy, std::size_t share_bytes)
    : arena_(std::move(arena)),
      deks_(deks),
      policy_(policy),
      wheel_(start, kWheelTick),
      flights_(start, kWaitersMax) {
  SetRoom(share_bytes);
}

KeyShard::~KeyShard() {
  for (const auto& [id, warm] : warm_by_id_) wheel_.Remove(warm_[warm]);
}

void KeyShard::SetRoom(std::size_t share_bytes) {
  // At most half of it for what WARM keys have more than others.
  warm_max_ = std::clamp<std::size_t>(share_bytes / 2 / kWarmBytesMax, 1, arena_->slots());
  std::size_t left = share_bytes - std::min(share_bytes, warm_max_ * kWarmBytesMax);
  keys_max_ = std::max<std::size_t>(1, left / kKeyBytesMax);
}

KeyFacts KeyShard::FactsOf(const KeyId& id, MonotonicTime now) const {
  KeyFacts facts;
  if (const MonotonicTime* began_at = flights_.BeganAt(id)) {
    facts.flight = true;
    facts.flight_overdue_at = *began_at + policy_.hard_refresh_budget;
  }
  if (auto warm = warm_by_id_.find(id); warm != warm_by_id_.end()) {
    const WarmPart& part = warm_[warm->second];
    facts.blob = true;
    facts.dek_until = part.dek->until();
    facts.secret = true;
    facts.refresh_at = part.refresh_at;
    facts.hard_deadline = part.hard_deadline;
    facts.uses_left = part.uses_left;
    facts.low_water_mark = part.low_water_mark;
  } else if (auto key = key_by_id_.find(id); key != key_by_id_.end()) {
    facts.blob = true;
    auto dek = deks_.Validity(DekIdOf(keys_[key->second].blob), now);
    if (dek != nullptr) facts.dek_until = dek->until();
  }
  return facts;
}

KeyAction KeyShard::ActionFor(const KeyId& id, KeyEvent event, MonotonicTime now) {
  KeyAction action = Next(FactsOf(id, now), event, now).action;
  if (action == KeyAction::kWipeAndRetry) {
    Wipe(id);
    action = Next(FactsOf(id, now), event, now).action;
  }
  BULLA_CHECK(action != KeyAction::kCannotHappen, "an event comes only in a state that knows it");
  return action;
}

KeyShard::Answer KeyShard::Sign(const KeyId& id, MonotonicTime now, KeyLease& lease,
                                absl::FunctionRef<SignTask()> make_task) {
  switch (ActionFor(id, KeyEvent::kSign, now)) {
    case KeyAction::kGrant:
      Grant(id, now, lease);
      return {Verdict::kGranted};
    case KeyAction::kGrantAndRefresh:
      flights_.Begin(id, now);
      Grant(id, now, lease);
      return {Verdict::kGrantedAndLeading};
    case KeyAction::kOpenAndWait:
      if (flights_.full()) return {Verdict::kRefused, ItemStatus::kBusy};
      flights_.Begin(id, now);
      UpdateIdle(id);
      flights_.Join(id, make_task());
      return {Verdict::kLeading};
    case KeyAction::kWait:
      if (flights_.full()) return {Verdict::kRefused, ItemStatus::kBusy};
      flights_.Join(id, make_task());
      return {Verdict::kWaiting};
    case KeyAction::kAskBlob:
      return {Verdict::kRefused, ItemStatus::kNeedBlob};
    case KeyAction::kAskDek:
      return {Verdict::kRefused, ItemStatus::kNeedDek};
    case KeyAction::kRefuse:
      return {Verdict::kRefused, ItemStatus::kRehydrateTimeout};
    default:
      BULLA_CHECK(false, "the table has an answer to a signature for every state");
  }
}

void KeyShard::Grant(const KeyId& id, MonotonicTime now, KeyLease& lease) {
  const std::uint32_t index = warm_by_id_.find(id)->second;
  WarmPart& part = warm_[index];
  std::ranges::copy(std::as_const(*arena_).Expose(part.secret), lease.secret.Expose().begin());
  lease.point = part.point;
  if (now - part.used_at >= kLruResolution) {
    part.used_at = now;
    in_use_.MoveToNewest(index);
  }
  if (--part.uses_left == 0) Wipe(id);
}

void KeyShard::Load(const SealedKeyHeader& header, const SealedBlob& blob, MonotonicTime now) {
  if (ActionFor(header.key_id, KeyEvent::kLoad, now) == KeyAction::kTakeBlob) {
    TakeBlob(header, blob, now);
  }
}

void KeyShard::TakeBlob(const SealedKeyHeader& header, const SealedBlob& blob, MonotonicTime now) {
  if (keys_.taken() >= keys_max_) EvictKey(now);
  const std::uint32_t index = keys_.Allocate();
  keys_[index].blob = blob;
  key_by_id_[header.key_id] = index;
  ++by_dek_[header.dek_id].keys;
  UpdateIdle(header.key_id);
}

bool KeyShard::InsertWarm(const SealedKeyHeader& header, const SealedBlob& blob,
                          const OpenedSecret& opened, MonotonicTime now, std::uint64_t random) {
  // A gateway that asks for an id that it has used already gets what it asks for: another key. But
  // a flight after the old one would bring that back.
  if (flights_.BeganAt(header.key_id) != nullptr) return false;
  Forget(header.key_id);
  Load(header, blob, now);
  flights_.Begin(header.key_id, now);
  CompleteFlight(header.key_id, opened, now, random);
  return true;
}

bool KeyShard::BlobOf(const KeyId& id, SealedBlob& blob) const {
  auto key = key_by_id_.find(id);
  if (key == key_by_id_.end()) return false;
  blob = keys_[key->second].blob;
  return true;
}

KeyShard::Released KeyShard::CompleteFlight(const KeyId& id, const OpenedSecret& opened,
                                            MonotonicTime now, std::uint64_t random) {
  KeyAction action = ActionFor(id, KeyEvent::kOpened, now);
  if (action == KeyAction::kTakeSecret) {
    TakeSecret(id, opened, now, random);
    return {ItemStatus::kOk, EndFlight(id)};
  }
  // Its blob or its DEK went while it was being opened.
  bool here = key_by_id_.contains(id);
  return {here ? ItemStatus::kNeedDek : ItemStatus::kNeedBlob, EndFlight(id)};
}

KeyShard::Released KeyShard::LandFailed(const KeyId& id, ItemStatus status, MonotonicTime now) {
  KeyEvent event = status == ItemStatus::kRefused ? KeyEvent::kBlobBad : KeyEvent::kOpenFailed;
  if (ActionFor(id, event, now) == KeyAction::kDropAll) {
    Forget(id);
  }
  return {status, EndFlight(id)};
}

std::vector<SignTask> KeyShard::EndFlight(const KeyId& id) {
  std::vector<SignTask> tasks = flights_.End(id);
  UpdateIdle(id);
  return tasks;
}

void KeyShard::TakeSecret(const KeyId& id, const OpenedSecret& opened, MonotonicTime now,
                          std::uint64_t random) {
  auto warm = warm_by_id_.find(id);
  WarmPart& part = warm != warm_by_id_.end() ? warm_[warm->second] : NewWarmPart(id, now);
  std::ranges::copy(opened.secret.Expose(), arena_->Expose(part.secret).begin());
  part.point = opened.point;
  part.dek = opened.dek;
  part.opened_at = now;
  part.refresh_at = now + RefreshAfter(policy_, random);
  part.hard_deadline = now + policy_.plain_key_ttl_hard;
  part.uses_left = static_cast<std::uint32_t>(policy_.plain_key_uses_max);
  part.low_water_mark = LowWaterMark(policy_, random);
  Rearm(part);
  UpdateIdle(id);
}

KeyShard::WarmPart& KeyShard::NewWarmPart(const KeyId& id, MonotonicTime now) {
  while (in_use_.size() >= warm_max_) EvictSecret(now);
  const std::uint32_t index = warm_.Allocate();
  WarmPart& part = warm_[index];
  part.id = id;
  part.secret = *arena_->Allocate();  // there are as many slots as warm_max_
  part.key = key_by_id_.find(id)->second;
  part.used_at = now;
  keys_[part.key].warm = index;
  warm_by_id_[id] = index;
  in_use_.PushNewest(index);
  ++by_dek_[DekIdOf(keys_[part.key].blob)].warm;
  return part;
}

void KeyShard::Wipe(const KeyId& id) {
  auto warm = warm_by_id_.find(id);
  if (warm == warm_by_id_.end()) return;
  const std::uint32_t index = warm->second;
  WarmPart& part = warm_[index];
  arena_->Free(part.secret);  // wipes
  wheel_.Remove(part);
  in_use_.Remove(index);
  keys_[part.key].warm = kNone;
  --by_dek_[DekIdOf(keys_[part.key].blob)].warm;
  warm_by_id_.erase(warm);
  warm_.Free(index);
  UpdateIdle(id);
}

void KeyShard::Forget(const KeyId& id) {
  Wipe(id);
  ForgetBlob(id);
}

void KeyShard::ForgetBlob(const KeyId& id) {
  auto key = key_by_id_.find(id);
  if (key == key_by_id_.end()) return;
  const std::uint32_t index = key->second;
  if (keys_[index].idle) idle_.Remove(index);
  auto dek = by_dek_.find(DekIdOf(keys_[index].blob));
  if (--dek->second.keys == 0) by_dek_.erase(dek);
  keys_.Free(index);
  key_by_id_.erase(key);
}

void KeyShard::UpdateIdle(const KeyId& id) {
  auto it = key_by_id_.find(id);
  if (it == key_by_id_.end()) return;
  Key& key = keys_[it->second];
  bool idle = key.warm == kNone && flights_.BeganAt(id) == nullptr;
  if (idle == std::exchange(key.idle, idle)) return;
  if (idle) {
    idle_.PushNewest(it->second);
  } else {
    idle_.Remove(it->second);
  }
}

void KeyShard::Rearm(WarmPart& part) {
  wheel_.Insert(part, std::min(part.hard_deadline, part.dek->until()));
}

// Requires: there is one.
void KeyShard::EvictSecret(MonotonicTime now) {
  const KeyId id = warm_[in_use_.oldest()].id;
  BULLA_CHECK(ActionFor(id, KeyEvent::kEvict, now) == KeyAction::kWipe,
              "every plain key can be evicted");
  Wipe(id);
  ++secrets_evicted_;
}

void KeyShard::EvictKey(MonotonicTime now) {
  // Those in use go only when there are no others; one that is being refreshed is no room yet.
  for (int i = 0; i < kEvictionsPerAdvance && idle_.size() == 0 && in_use_.size() > 0; ++i) {
    EvictSecret(now);
  }
  if (idle_.size() == 0) return;  // what is left is being opened at this moment
  const KeyId id = ParseSealedKey(keys_[idle_.oldest()].blob)->key_id;
  BULLA_CHECK(ActionFor(id, KeyEvent::kDrop, now) == KeyAction::kForget,
              "what nobody is at work on can be dropped");
  ForgetBlob(id);
  ++blobs_evicted_;
}

void KeyShard::Advance(MonotonicTime now, std::vector<SignTask>& rehydrate_timeout) {
  wheel_.Advance(now, [&](TimerNode& node) {
    auto& part = static_cast<WarmPart&>(node);
    const KeyId id = part.id;
    if (ActionFor(id, KeyEvent::kTimer, now) == KeyAction::kWipe) {
      Wipe(id);
    } else {
      Rearm(part);
    }
  });
  flights_.Advance(now, rehydrate_timeout);
  int evictions = 0;
  while (in_use_.size() > warm_max_ && evictions++ < kEvictionsPerAdvance) EvictSecret(now);
  while (keys_.taken() > keys_max_ && evictions++ < kEvictionsPerAdvance) EvictKey(now);
}

void KeyShard::SetPolicy(const KeyPolicy& policy, std::size_t share_bytes) {
  policy_ = policy;
  SetRoom(share_bytes);
  const auto uses_max = static_cast<std::uint32_t>(policy.plain_key_uses_max);
  // In the order of use, not of a table that hashes anew in each process: which of them the wheel
  // wipes first, and so what is evicted later, would be another in each run of one seed.
  for (std::uint32_t warm = in_use_.oldest(); warm != kNone; warm = warm_[warm].lru.newer) {
    WarmPart& part = warm_[warm];
    // The old time is as good a random number as any: the new ones are as far apart.
    const auto spread = static_cast<std::uint64_t>((part.refresh_at - part.opened_at).count());
    part.refresh_at = std::min(part.refresh_at, part.opened_at + RefreshAfter(policy, spread));
    part.hard_deadline = std::min(part.hard_deadline, part.opened_at + policy.plain_key_ttl_hard);
    part.uses_left = std::min(part.uses_left, uses_max);
    part.low_water_mark = std::min(part.low_water_mark, uses_max / 2);
    Rearm(part);
  }
}

void KeyShard::AppendKeysInUse(std::vector<KeyId>& out) const {
  for (const auto& [id, part] : warm_by_id_) out.push_back(id);
}

KeyShard::Counts KeyShard::CountsAt(MonotonicTime now) const {
  Counts counts;
  for (const auto& [dek, keys] : by_dek_) {
    if (deks_.Validity(dek, now) == nullptr) {
      counts.invalid += keys.keys;
    } else {
      counts.warm += keys.warm;
      counts.cool += keys.keys - keys.warm;
    }
  }
  counts.waiters = flights_.waiters();
  counts.secrets_evicted = secrets_evicted_;
  counts.blobs_evicted = blobs_evicted_;
  auto table_bytes = [](const auto& table) {
    return table.capacity() * (sizeof(*table.begin()) + 1);
  };
  counts.memory_bytes =
      keys_.bytes() + warm_.bytes() + table_bytes(key_by_id_) + table_bytes(warm_by_id_);
  counts.locked_bytes = std::size_t{arena_->taken()} * Secret<32>::kBytes;
  return counts;
}

KeyShard::View KeyShard::ViewOf(const KeyId& id, MonotonicTime now) const {
  KeyFacts facts = FactsOf(id, now);
  return {StateOf(facts, now), facts};
}

}  // namespace bulla
