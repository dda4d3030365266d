#include "tests/simulation/key_model.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace bulla {
namespace {

using Verdict = KeyShard::Verdict;

// A plain key is wiped by the first Advance() that is this much after its end: the shard's tick.
constexpr Duration kWipedWithin = std::chrono::milliseconds(10);

}  // namespace

void KeyModel::Expect(bool condition, const char* what, std::size_t key) {
  if (!condition) ADD_FAILURE() << "key " << key << ": " << what;
}

bool KeyModel::DekOpen(std::size_t dek, MonotonicTime now) const {
  return deks_[dek].listed && now < deks_[dek].untils.back();
}

MonotonicTime KeyModel::UntilOf(const Key& key) const {
  return std::min(key.hard_deadline, deks_[key.dek].untils[key.generation - 1]);
}

void KeyModel::Look(std::size_t number, const KeyShard::View& view, MonotonicTime now) {
  Key& key = keys_[number];
  const KeyFacts& facts = view.facts;
  Expect(facts.flight == key.flight, "another opinion on whether a flight is under way", number);
  Expect(key.blob || !facts.blob, "a blob from nowhere", number);
  Expect(key.secret || !facts.secret, "a plain key from nowhere, or beyond its time", number);
  if (key.secret && !facts.secret) {
    // A DEK that comes back just after its end may find its keys wiped or not.
    const bool lapsed = deks_[key.dek].revived_at > key.opened_at;
    if (now < UntilOf(key) && !lapsed) ++secrets_lost_;
    key.secret = false;
  }
  if (key.blob && !facts.blob) {
    Expect(!key.flight, "the blob of a flight was forgotten", number);
    ++blobs_lost_;
    key.blob = false;
  }
  if (facts.blob && !facts.secret) {
    Expect((now < facts.dek_until) == DekOpen(key.dek, now), "another opinion on its DEK", number);
  }
  if (!facts.secret) return;
  Expect(facts.hard_deadline == key.hard_deadline, "another hard deadline", number);
  Expect(std::min(facts.hard_deadline, facts.dek_until) == UntilOf(key), "another end", number);
  Expect(facts.uses_left == key.uses_left, "another number of uses left", number);
  Expect(facts.refresh_at >= key.refresh_from && facts.refresh_at <= key.refresh_by,
         "a refresh outside its window", number);
}

void KeyModel::Asked(std::size_t number, const KeyShard::Answer& answer, MonotonicTime now) {
  Key& key = keys_[number];
  const Verdict verdict = answer.verdict;
  auto refused = [&](ItemStatus status) {
    return verdict == Verdict::kRefused && answer.status == status;
  };
  if (key.secret && now < UntilOf(key)) {
    const bool leading = verdict == Verdict::kGrantedAndLeading;
    const bool may = now >= key.refresh_from || key.uses_left <= key.low_water_max;
    const bool must = now >= key.refresh_by || key.uses_left <= key.low_water_min;
    Expect(leading || verdict == Verdict::kGranted, "a good plain key did not sign", number);
    Expect(!leading || (may && !key.flight), "a refresh too early or twice", number);
    Expect(leading || key.flight || !must, "no refresh though it is time", number);
    ++grants_;
    key.secret = --key.uses_left > 0;
    if (leading) Begin(key, now);
    return;
  }
  key.secret = false;
  if (!key.blob) {
    Expect(refused(ItemStatus::kNeedBlob), "no blob, and that is not the answer", number);
  } else if (!DekOpen(key.dek, now)) {
    Expect(refused(ItemStatus::kNeedDek), "no DEK, and that is not the answer", number);
  } else if (!key.flight) {
    Expect(verdict == Verdict::kLeading, "COOL, and nobody opens it", number);
    Begin(key, now);
  } else if (now < key.flight_began + policy_.hard_refresh_budget) {
    Expect(verdict == Verdict::kWaiting, "it does not wait for the flight", number);
  } else {
    Expect(refused(ItemStatus::kRehydrateTimeout), "overdue, and that is not the answer", number);
  }
}

void KeyModel::Begin(Key& key, MonotonicTime now) {
  key.flight = true;
  key.flight_began = now;
  ++flights_;
}

void KeyModel::End(std::size_t number) {
  Expect(keys_[number].flight, "a flight ended that was none", number);
  keys_[number].flight = false;
  --flights_;
}

void KeyModel::Open(std::size_t number, std::size_t generation, MonotonicTime now) {
  Key& key = keys_[number];
  key.secret = true;
  key.opening = ++openings_;
  key.generation = generation;
  key.opened_at = now;
  key.hard_deadline = MonotonicTime::max();
  key.refresh_from = key.refresh_by = MonotonicTime::max();
  key.uses_left = key.low_water_min = key.low_water_max = ~std::uint64_t{0};
  Tighten(key);
  deadlines_.push({UntilOf(key), number, key.opening});
}

void KeyModel::Tighten(Key& key) const {
  const Duration middle = policy_.plain_key_ttl_soft - policy_.plain_key_refresh_window;
  const Duration latest = std::min<Duration>(policy_.plain_key_ttl_soft, middle * 11 / 10);
  const std::uint64_t mark =
      std::min(policy_.plain_key_low_water_mark, policy_.plain_key_uses_max / 2);
  const bool fresh = key.low_water_max == ~std::uint64_t{0};
  key.hard_deadline = std::min(key.hard_deadline, key.opened_at + policy_.plain_key_ttl_hard);
  key.refresh_from = std::min(key.refresh_from, key.opened_at + middle * 9 / 10);
  key.refresh_by = std::min(key.refresh_by, key.opened_at + latest);
  key.uses_left = std::min(key.uses_left, policy_.plain_key_uses_max);
  // A new policy lowers a mark only as far as the uses make it.
  const std::uint64_t half = policy_.plain_key_uses_max / 2;
  key.low_water_min = fresh ? mark - mark / 10 : std::min(key.low_water_min, half);
  key.low_water_max = fresh ? mark + mark / 10 : std::min(key.low_water_max, half);
}

void KeyModel::Loaded(std::size_t number, std::size_t dek) {
  Key& key = keys_[number];
  if (key.blob) return;
  key.blob = true;
  key.dek = dek;
}

void KeyModel::Inserted(std::size_t number, std::size_t dek, MonotonicTime now) {
  Key& key = keys_[number];
  if (key.flight) return;
  key.blob = true;
  key.secret = false;
  key.dek = dek;
  if (DekOpen(dek, now)) Open(number, GenerationOf(dek), now);
}

void KeyModel::Forgotten(std::size_t number) { keys_[number].blob = keys_[number].secret = false; }

void KeyModel::FlightCompleted(std::size_t number, std::size_t generation, ItemStatus status,
                               MonotonicTime now) {
  const bool open = keys_[number].blob && DekOpen(keys_[number].dek, now);
  const ItemStatus missing = keys_[number].blob ? ItemStatus::kNeedDek : ItemStatus::kNeedBlob;
  // What is there meanwhile signs on, whatever became of the flight.
  Expect(status == (open ? ItemStatus::kOk : missing), "a flight's wrong end", number);
  End(number);
  if (open) Open(number, generation, now);
}

void KeyModel::FlightFailed(std::size_t number, ItemStatus given, ItemStatus status) {
  Expect(status == given, "a failure that is told otherwise", number);
  End(number);
  if (given == ItemStatus::kRefused) keys_[number].blob = keys_[number].secret = false;
}

void KeyModel::Joined(const SignTask& task, MonotonicTime now) {
  const MonotonicTime back_by = std::max(task.wait_until, now + SingleFlight::kTick);
  const bool added = waiters_.emplace(task.item.sequence, Waiter{task.wait_until, back_by}).second;
  EXPECT_TRUE(added) << "signature " << task.item.sequence << " waits twice";
  waiters_by_time_.emplace(back_by, task.item.sequence);
}

void KeyModel::GivenBack(const SignTask& task, bool rehydrate_timeout, MonotonicTime now) {
  auto it = waiters_.find(task.item.sequence);
  if (it == waiters_.end()) {
    ADD_FAILURE() << "signature " << task.item.sequence << " was given back twice";
    return;
  }
  EXPECT_TRUE(!rehydrate_timeout || now >= it->second.wait_until - SingleFlight::kTick)
      << "signature " << task.item.sequence << " was given up too early";
  waiters_by_time_.erase({it->second.back_by, task.item.sequence});
  waiters_.erase(it);
}

void KeyModel::WaitersAdvanced(MonotonicTime now) {
  EXPECT_TRUE(waiters_by_time_.empty() || waiters_by_time_.begin()->first > now)
      << "signature " << waiters_by_time_.begin()->second << " waits beyond its budget";
}

void KeyModel::DekOpened(std::size_t number, MonotonicTime asked_at, MonotonicTime now) {
  Dek& dek = deks_[number];
  if (!dek.listed) {
    dek.listed = true;
    dek.asked_at = asked_at;
    dek.untils.push_back(asked_at + policy_.dek_ttl_hard);
  } else if (asked_at >= dek.asked_at) {
    if (now >= dek.untils.back()) dek.revived_at = now;
    dek.asked_at = asked_at;
    dek.untils.back() = asked_at + policy_.dek_ttl_hard;
  }
}

void KeyModel::DeksAdvanced(MonotonicTime now) {
  for (Dek& dek : deks_) dek.listed = dek.listed && now < dek.untils.back();
}

void KeyModel::PolicySet(const KeyPolicy& policy) {
  policy_ = policy;
  for (Dek& dek : deks_) {
    if (!dek.listed) continue;
    dek.untils.back() = std::min(dek.untils.back(), dek.asked_at + policy.dek_ttl_hard);
  }
  for (std::size_t number = 0; number < keys_.size(); ++number) {
    Key& key = keys_[number];
    if (!key.secret) continue;
    Tighten(key);
    deadlines_.push({UntilOf(key), number, key.opening});
  }
}

std::vector<std::size_t> KeyModel::OverBy(MonotonicTime now) {
  std::vector<std::size_t> over;
  while (!deadlines_.empty() && deadlines_.top().at + kWipedWithin <= now) {
    const Deadline due = deadlines_.top();
    deadlines_.pop();
    Key& key = keys_[due.key];
    if (!key.secret || key.opening != due.opening) continue;
    if (UntilOf(key) + kWipedWithin > now) {
      deadlines_.push({UntilOf(key), due.key, due.opening});
    } else {
      key.secret = false;
      over.push_back(due.key);
    }
  }
  return over;
}

}  // namespace bulla
