#include "tests/simulation/gateway_model.h"

#include <algorithm>
#include <fmt/format.h>

#include "gateway/routing/fleet.h"
#include "gateway/routing/router.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Of gateway/link/enclave_link.
constexpr milliseconds kDial{2};
constexpr milliseconds kHelloTimeout{2000};
constexpr milliseconds kReconnectMax{100};
constexpr milliseconds kProbeInterval{1000};
constexpr milliseconds kProbeTimeout{2000};
constexpr milliseconds kReopenPause{20};

constexpr std::uint32_t kSlotBits = 8;
static_assert(GatewayModel::kSlots == 1u << kSlotBits);

DekId DekIdOf(std::uint32_t dek) {
  DekId id;
  id.bytes[0] = static_cast<std::uint8_t>(dek);
  return id;
}

}  // namespace

GatewayModel::Member::Member(std::uint32_t member_id, EnclaveModel& of, MonotonicTime now)
    : number(member_id), enclave(&of), limit({.max = kStreams * kSlots}), outlier_detector(now) {
  for (Stream& stream : streams) {
    for (std::uint32_t i = 0; i < kSlots; ++i) stream.free.push_back(kSlots - 1 - i);
  }
}

std::size_t GatewayModel::Member::in_flight() const {
  std::size_t sum = 0;
  for (const Stream& stream : streams) sum += stream.in_flight();
  return sum;
}

class GatewayModel::Sorted {
 public:
  explicit Sorted(GatewayModel& gateway)
      : gateway_(gateway), table_(gateway.table_), lists_(table_.size()) {}
  void Append(std::size_t member, SignCall* call) { lists_[member].Append(call); }
  void SendAll() {
    for (std::size_t i = 0; i < lists_.size(); ++i) {
      if (!lists_[i].empty()) gateway_.PoolSign(*table_[i], lists_[i].first());
    }
  }

 private:
  GatewayModel& gateway_;
  const Table table_;
  std::vector<CallList> lists_;
};

GatewayModel::GatewayModel(World& world, const Keys& keys, Wrong wrong)
    : world_(world), keys_(keys), wrong_(std::move(wrong)) {
  world_.After(kTick, [this] { Tick(); });
}

// ---- Router ----------------------------------------------------------------------------------

void GatewayModel::Sign(SignCall* first) {
  std::size_t received = 0;
  for (SignCall* call = first; call != nullptr; call = call->next) {
    ++received;
    call->blob_loads = call->blob_follows = call->retries = 0;
  }
  counts_.received += received;
  retry_budget_.Deposit(received);
  Route(first);
}

void GatewayModel::Route(SignCall* first) {
  Sorted sorted(*this);
  CallList unroutable;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    std::optional<std::size_t> member =
        ring_.Find(call->key_id, [&](std::size_t index) { return table_[index]->TryAdmit(); });
    if (member) {
      sorted.Append(*member, call);
    } else {
      unroutable.Append(call);
    }
  }
  FailAll(unroutable.first(), ErrorCode::kUnavailable);
  sorted.SendAll();
}

void GatewayModel::Retry(Member& from, SignCall* first, RetryReason reason, ErrorCode otherwise) {
  Sorted sorted(*this);
  CallList given_up;
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    std::optional<std::size_t> member;
    if (MayRetry(*call, world_.now)) {
      const std::uint32_t dek = keys_.DekOf(Keys::NumberOf(call->key_id));
      member = FindRetryTarget(ring_, table_, *call, from.id(), reason,
                               [&](const Member& other) { return other.open_deks.contains(dek); });
    }
    if (member && !retry_budget_.TryWithdraw()) {
      ++counts_.retries_refused;
      member.reset();
    }
    if (!member) {
      given_up.Append(call);
      continue;
    }
    if (reason == RetryReason::kNoDek && table_[*member] == &from) {
      wrong_("repeated where its data key was not open");
    }
    CountRetry(*call, from.id(), world_.now);
    ++counts_.retries;
    sorted.Append(*member, call);
  }
  FailAll(given_up.first(), otherwise);
  sorted.SendAll();
}

void GatewayModel::TimeOutTries() {
  for (Member* member : Table(table_)) {
    const bool another = std::ranges::any_of(
        table_, [&](const Member* other) { return other != member && other->available(); });
    std::size_t left = retry_budget_.left();
    if (!another) continue;
    for (Stream& stream : member->streams) {
      if (left == 0) break;
      std::size_t taken = 0;
      auto [late, count] = ReleaseIf(stream, [&](const SignCall& call) {
        return call.gathered_at < world_.now - Router::kPerTryTimeout && taken++ < left;
      });
      left -= count;
      if (count > 0) OnLost(*member, late, count);
    }
  }
}

void GatewayModel::OnNeedDek(Member& member, SignCall* first) {
  for (SignCall* call = first; call != nullptr; call = call->next) {
    Want(member, keys_.DekOf(Keys::NumberOf(call->key_id)));
    blob_fetch_.Dropped(member.id(), call->key_id);
  }
  Retry(member, first, RetryReason::kNoDek, ErrorCode::kUnlockRequired);
}

void GatewayModel::OnNeedBlob(Member& member, SignCall* first) {
  const CoalescingFetch::Asked asked = blob_fetch_.AskAll(member.id(), first, world_.now);
  deferred_.AppendAll(asked.later);
  FailAll(asked.given_up.first(), ErrorCode::kRetryLater);
  if (!asked.resend.empty()) PoolSign(member, asked.resend.first());
  for (const KeyId& key_id : asked.to_fetch) {
    const std::uint32_t key = Keys::NumberOf(key_id);
    ++counts_.blob_loads;
    if (!fetching_.insert({member.id(), key}).second) wrong_("two loads of one key at a time");
    world_.After(store_wait_, [this, &member, key] { SendBlob(member, key); });
  }
}

void GatewayModel::SendBlob(Member& member, std::uint32_t key) {
  fetching_.erase({member.id(), key});
  SignCall* first = blob_fetch_.TakeWaiting(member.id(), Keys::IdOf(key), true, world_.now);
  if (first == nullptr) return;
  SignCall* rest = PoolSignWithBlob(member, first, key);
  if (rest == nullptr) return;
  if (rest != first) return PoolSign(member, rest);
  if (member.ready) return FailAll(first, ErrorCode::kRetryLater);
  Retry(member, first, RetryReason::kLost, ErrorCode::kUnavailable);
}

void GatewayModel::Tick() {
  retry_budget_.Tick(world_.now);
  for (const auto& member : members_) Expire(*member);
  TimeOutTries();
  for (Member* member : table_) Prepare(*member);
  Judge();
  StartUnlocks();
  blob_fetch_.Prune(world_.now);
  FailExpiredLoads();
  SignCall* deferred = std::exchange(deferred_, {}).first();
  if (deferred != nullptr) Route(deferred);
  CheckBudget();
  CheckFleet();
  for (const auto& member : members_) CheckPool(*member);
  world_.After(kTick, [this] { Tick(); });
}

// They come in the order of a hash map, which is another one each time: one seed, one history.
void GatewayModel::FailExpiredLoads() {
  std::map<std::uint64_t, SignCall*> by_number;
  SignCall* first = blob_fetch_.TakeExpired(world_.now);
  while (first != nullptr) {
    SignCall* call = PopFirst(first);
    by_number[static_cast<CallModel*>(call)->number] = call;
  }
  for (const auto& [number, call] : by_number) FailAll(call, ErrorCode::kUnavailable);
}

// ---- Fleet -----------------------------------------------------------------------------------

void GatewayModel::Add(EnclaveModel& enclave, std::uint32_t weight) {
  const auto id = static_cast<std::uint32_t>(members_.size() + 1);
  members_.push_back(std::make_unique<Member>(id, enclave, world_.now));
  table_.push_back(members_.back().get());
  weights_.push_back(weight);
  Publish();
  Connect(*members_.back());
}

void GatewayModel::Remove(const std::string& name) {
  Member* member = Find(name);
  const auto index = std::ranges::find(table_, member) - table_.begin();
  table_.erase(table_.begin() + index);
  weights_.erase(weights_.begin() + index);
  Publish();
  member->retired = true;
  if (member->in_flight() == 0 && !member->batcher.waiting()) LoseLink(*member);
}

void GatewayModel::SetWeight(const std::string& name, std::uint32_t weight) {
  const auto index = std::ranges::find(table_, Find(name)) - table_.begin();
  weights_[static_cast<std::size_t>(index)] = weight;
  Publish();
}

void GatewayModel::Publish() {
  std::vector<HashRing::Member> members;
  for (std::size_t i = 0; i < table_.size(); ++i) {
    members.push_back({table_[i]->enclave->name(), weights_[i]});
  }
  ring_ = HashRing(members);
}

void GatewayModel::Prepare(Member& member) {
  if (!member.ready) {
    member.connected_at.reset();
    member.prepared = false;
    return;
  }
  if (member.prepared) return;
  if (!member.connected_at) member.connected_at = world_.now;
  const bool others_serve = std::ranges::any_of(
      table_, [&](const Member* other) { return other != &member && other->in_service(); });
  member.prepared = Settled(member) || !others_serve ||
                    world_.now - *member.connected_at >= Fleet::kWarmUpTimeout;
}

void GatewayModel::Judge() {
  std::vector<OutlierDetector::Judged> all;
  std::vector<bool> ejected_before;
  for (Member* member : table_) {
    member->outlier_detector.Observe(world_.now, member->answered - member->answered_seen,
                                     member->unanswered - member->unanswered_seen,
                                     world_.dice.Roll());
    member->answered_seen = member->answered;
    member->unanswered_seen = member->unanswered;
    all.push_back({&member->outlier_detector, member->in_service()});
    ejected_before.push_back(member->ejected());
  }
  OutlierDetector::Judge(all, world_.now);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Member& member = *table_[i];
    if (member.ejected() == ejected_before[i]) continue;
    if (member.ejected()) ++counts_.ejections;
    world_.Note(member.id() * 2 + (member.ejected() ? 1 : 0));
  }
}

// ---- StreamPool ------------------------------------------------------------------------------

void GatewayModel::PoolSign(Member& member, SignCall* first) {
  const std::size_t asked = CountCalls(first);
  const std::size_t admitted = member.limit.Admit(asked, member.batcher.outstanding(), world_.now);
  for (std::size_t i = 0; i < admitted; ++i) member.batcher.Add(PopFirst(first), world_.now);
  counts_.refused_over_limit += asked - admitted;
  FailAll(first, ErrorCode::kRetryLater);
  WakeBy(member, SendDue(member));
}

MonotonicTime GatewayModel::SendDue(Member& member) {
  while (SignCall* frame = member.batcher.Take(world_.now)) SendFrame(member, frame);
  return member.batcher.waiting() ? member.batcher.due_at() : MonotonicTime::max();
}

void GatewayModel::WakeBy(Member& member, MonotonicTime due) {
  if (due >= member.timer) return;
  member.timer = due;
  world_.agenda.At(due, [this, &member, due] {
    if (member.timer != due) return;
    member.timer = MonotonicTime::max();
    WakeBy(member, SendDue(member));
  });
}

void GatewayModel::SendFrame(Member& member, SignCall* first) {
  for (std::size_t in_flight_max : {kFrameSignsMax, kSlots}) {
    for (std::size_t i = 0; i < kStreams && first != nullptr; ++i) {
      if (member.streams[i].in_flight() < in_flight_max) first = StreamSign(member, i, first, {});
    }
  }
  if (first == nullptr) return;
  NoLongerInFlight(member, CountCalls(first));
  if (std::ranges::none_of(member.streams, &Stream::open)) {
    return Retry(member, first, RetryReason::kLost, ErrorCode::kUnavailable);
  }
  FailAll(first, ErrorCode::kRetryLater);
}

SignCall* GatewayModel::PoolSignWithBlob(Member& member, SignCall* first, std::uint32_t key) {
  const std::size_t before = CountCalls(first);
  for (SignCall* call = first; call != nullptr; call = call->next) call->gathered_at = world_.now;
  member.batcher.Sent(before);
  std::size_t left = before;
  for (std::size_t i = 0; i < kStreams && left == before; ++i) {
    first = StreamSign(member, i, first, {key});
    left = CountCalls(first);
  }
  if (left > 0) NoLongerInFlight(member, left);
  return first;
}

void GatewayModel::NoLongerInFlight(Member& member, std::size_t count, MonotonicTime oldest) {
  member.batcher.Answered(count);
  member.limit.OnAnswered(count, oldest, member.batcher.outstanding(), world_.now);
  if (member.batcher.waiting()) WakeBy(member, SendDue(member));
}

void GatewayModel::OnLost(Member& member, CallList lost, std::size_t count) {
  member.unanswered += count;
  NoLongerInFlight(member, count);
  Retry(member, lost.first(), RetryReason::kLost, ErrorCode::kUnavailable);
}

// ---- EnclaveStream ---------------------------------------------------------------------------

SignCall* GatewayModel::StreamSign(Member& member, std::size_t index, SignCall* first,
                                   std::vector<std::uint32_t> blobs) {
  Stream& stream = member.streams[index];
  if (!stream.open || stream.free.empty()) return first;
  EnclaveModel::Frame frame{.blobs = std::move(blobs), .items = {}, .answered = {}};
  while (first != nullptr && !stream.free.empty()) {
    auto* call = static_cast<CallModel*>(PopFirst(first));
    const std::uint32_t slot = stream.free.back();
    stream.free.pop_back();
    stream.slots[slot].sign = call;
    frame.items.push_back({.sequence = stream.slots[slot].generation << kSlotBits | slot,
                           .key = Keys::NumberOf(call->key_id),
                           .call = call->number,
                           .deadline = call->deadline});
  }
  member.sent += frame.items.size();
  counts_.sent += frame.items.size();
  world_.Note(counts_.sent << 8 | member.id());
  if (!member.enclave->up() && !member.ready) wrong_("sent to an enclave that is gone");
  frame.answered = [this, &member, index, life = stream.life](auto replies) {
    OnReplies(member, index, life, std::move(replies));
  };
  member.enclave->Take(std::move(frame));
  return first;
}

SignCall* GatewayModel::ReleaseSlot(Stream& stream, std::uint32_t sequence) {
  const std::uint32_t index = sequence & (kSlots - 1);
  Slot& slot = stream.slots[index];
  if (slot.sign == nullptr || slot.generation != sequence >> kSlotBits) return nullptr;
  slot.generation = (slot.generation + 1) & (0xffffffffu >> kSlotBits);
  stream.free.push_back(index);
  return std::exchange(slot.sign, nullptr);
}

void GatewayModel::OnReplies(Member& member, std::size_t index, std::uint32_t life,
                             std::optional<std::vector<EnclaveModel::Reply>> replies) {
  Stream& stream = member.streams[index];
  if (!stream.open || stream.life != life) return;
  if (!replies) return LoseStream(member, index);
  CallList done;
  CallList need_blob;
  CallList need_dek;
  CallList rehydrate_timeout;
  std::size_t answered = 0;
  MonotonicTime oldest = MonotonicTime::max();
  for (const EnclaveModel::Reply& reply : *replies) {
    auto* call = static_cast<CallModel*>(ReleaseSlot(stream, reply.sequence));
    if (call == nullptr) continue;
    ++answered;
    if (reply.status != ItemStatus::kBusy) oldest = std::min(oldest, call->gathered_at);
    CallList& list = reply.status == ItemStatus::kNeedBlob           ? need_blob
                     : reply.status == ItemStatus::kNeedDek          ? need_dek
                     : reply.status == ItemStatus::kRehydrateTimeout ? rehydrate_timeout
                                                                     : done;
    call->signed_as = reply.call;
    call->error = reply.status == ItemStatus::kOk     ? ErrorCode::kOk
                  : reply.status == ItemStatus::kBusy ? ErrorCode::kRetryLater
                                                      : ErrorCode::kUnavailable;
    list.Append(call);
  }
  if (!done.empty()) CompleteAll(done.first());
  if (answered > 0) {
    member.answered += answered;
    NoLongerInFlight(member, answered, oldest);
  }
  if (!need_blob.empty()) OnNeedBlob(member, need_blob.first());
  if (!need_dek.empty()) OnNeedDek(member, need_dek.first());
  if (!rehydrate_timeout.empty()) {
    Retry(member, rehydrate_timeout.first(), RetryReason::kRehydrateTimeout,
          ErrorCode::kUnlockRequired);
  }
}

template <typename IsDue>
std::pair<CallList, std::size_t> GatewayModel::ReleaseIf(Stream& stream, IsDue is_due) {
  std::pair<CallList, std::size_t> released;
  if (stream.in_flight() == 0) return released;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    if (stream.slots[i].sign == nullptr || !is_due(*stream.slots[i].sign)) continue;
    released.first.Append(ReleaseSlot(stream, stream.slots[i].generation << kSlotBits | i));
    ++released.second;
  }
  return released;
}

void GatewayModel::Expire(Member& member) {
  for (Stream& stream : member.streams) {
    auto [expired, count] =
        ReleaseIf(stream, [&](const SignCall& call) { return world_.now >= call.deadline; });
    if (count == 0) continue;
    FailAll(expired.first(), ErrorCode::kUnavailable);
    member.unanswered += count;
    NoLongerInFlight(member, count);
  }
  if (member.retired && member.ready && member.in_flight() == 0 && !member.batcher.waiting()) {
    LoseLink(member);
  }
}

void GatewayModel::LoseStream(Member& member, std::size_t index) {
  Stream& stream = member.streams[index];
  if (!stream.open) return;
  stream.open = false;
  auto [lost, count] = ReleaseIf(stream, [](const SignCall&) { return true; });
  if (count > 0) OnLost(member, lost, count);
  if (!member.ready) return;
  world_.After(kReopenPause, [this, &member, connection = member.connection] {
    if (member.ready && member.connection == connection) OpenStreams(member);
  });
}

// ---- EnclaveLink -----------------------------------------------------------------------------

void GatewayModel::Connect(Member& member) {
  if (member.retired) return;
  if (!member.enclave->up() || member.unlocks_under_way > 0) {
    const Duration wait = world_.dice.Between(kReconnectMax / 2, kReconnectMax);
    return world_.After(wait, [this, &member] { Connect(member); });
  }
  if (member.enclave->frozen()) {
    return world_.After(kHelloTimeout, [this, &member] { Connect(member); });
  }
  world_.After(kDial, [this, &member] {
    if (!member.enclave->up() || member.enclave->frozen()) return Connect(member);
    if (member.retired) return;
    const std::uint64_t connection = ++member.connection;
    member.attached = true;
    for (std::uint32_t dek = 0; dek < keys_.deks; ++dek) Want(member, dek);
    OpenStreams(member);
    member.ready = true;
    Probe(member, connection);
  });
}

void GatewayModel::OpenStreams(Member& member) {
  if (!member.enclave->up()) return;
  for (Stream& stream : member.streams) {
    if (!stream.open) ++stream.life;
    stream.open = true;
  }
}

void GatewayModel::Probe(Member& member, std::uint64_t connection) {
  world_.After(kProbeInterval, [this, &member, connection] {
    if (!member.ready || member.connection != connection) return;
    const MonotonicTime asked = world_.now;
    if (!member.enclave->frozen()) return Probe(member, connection);
    world_.After(kProbeTimeout, [this, &member, connection, asked] {
      if (!member.ready || member.connection != connection) return;
      if (member.enclave->frozen_since() <= asked) return LoseLink(member);
      Probe(member, connection);
    });
  });
}

void GatewayModel::LoseLink(Member& member) {
  member.ready = false;
  for (std::size_t i = 0; i < kStreams; ++i) LoseStream(member, i);
  member.attached = false;
  member.open_deks.clear();
  unlock_queue_.Forget(member.id());
  if (!member.retired) Connect(member);
}

// Its streams break one after the other, and then the link notices.
void GatewayModel::OnKilled(const std::string& name) {
  for (const auto& each : members_) {
    Member& member = *each;
    if (member.enclave->name() != name || !member.ready) continue;
    const std::uint64_t connection = member.connection;
    for (std::size_t i = 0; i <= kStreams; ++i) {
      const auto wait = milliseconds(1 + static_cast<int>(i));
      world_.After(wait, [this, &member, connection, i] {
        if (!member.ready || member.connection != connection) return;
        i < kStreams ? LoseStream(member, i) : LoseLink(member);
      });
    }
  }
}

// ---- Unlocker --------------------------------------------------------------------------------

void GatewayModel::Want(Member& member, std::uint32_t dek) {
  if (!member.attached || !unlock_queue_.Want({member.id(), DekIdOf(dek)}, world_.now)) return;
  member.open_deks.erase(dek);
  StartUnlocks();
}

void GatewayModel::StartUnlocks() {
  for (const UnlockQueue::Task& task : unlock_queue_.Start(world_.now)) {
    ++counts_.unlocks;
    if (!unlocking_.insert(task).second) wrong_("two unlocks of one data key in one enclave");
    Member& member = *members_[task.enclave - 1];
    ++member.unlocks_under_way;
    if (!member.attached) {
      world_.After(milliseconds(1), [this, task] { FinishUnlock(task, false); });
      continue;
    }
    member.enclave->Unlock(task.dek_id.bytes[0],
                           [this, task](bool opened) { FinishUnlock(task, opened); });
  }
}

void GatewayModel::FinishUnlock(const UnlockQueue::Task& task, bool opened) {
  unlocking_.erase(task);
  --members_[task.enclave - 1]->unlocks_under_way;
  if (opened) {
    Member& member = *members_[task.enclave - 1];
    if (member.attached) member.open_deks.insert(task.dek_id.bytes[0]);
    unlock_queue_.Succeeded(task);
  } else {
    unlock_queue_.Failed(task, world_.now, world_.dice.Roll());
  }
}

bool GatewayModel::Settled(const Member& member) const {
  return member.attached && unlock_queue_.hopeful(member.id()) == 0;
}

// ---- What must never be ----------------------------------------------------------------------

// Over any ten seconds no more is repeated than was saved, and earned, and given whatever the
// traffic.
void GatewayModel::CheckBudget() {
  constexpr std::uint64_t kTicksPerMark = 10;
  if (ticks_++ % kTicksPerMark != 0) return;
  while (!marks_.empty() && world_.now - marks_.front().at > seconds(10)) marks_.pop_front();
  marks_.push_back({world_.now, counts_.received, counts_.retries});
  const Mark& first = marks_.front();
  const auto given =
      static_cast<std::uint64_t>((world_.now - first.at) / RetryBudget::kFloorInterval + 1);
  const std::uint64_t allowed =
      RetryBudget::kSavedMax + given +
      (counts_.received - first.received) / RetryBudget::kRequestsPerRetry + 1;
  if (counts_.retries - first.retries > allowed) wrong_("more was repeated than the budget allows");
}

void GatewayModel::CheckFleet() {
  std::size_t serving = 0;
  std::size_t ejected = 0;
  for (const Member* member : table_) {
    if (member->in_service()) ++serving;
    if (member->in_service() && member->ejected()) ++ejected;
  }
  if (ejected * 2 > serving) wrong_("more than half of those that serve are ejected");
}

void GatewayModel::CheckPool(const Member& member) {
  const std::size_t in_slots = member.in_flight();
  if (in_slots > kStreams * kSlots) wrong_("more in flight than there are slots");
  if (member.batcher.outstanding() < in_slots)
    wrong_("the batcher knows of less than is in flight");
  if (!member.batcher.waiting() && member.batcher.outstanding() != in_slots) {
    wrong_("the batcher knows of more than is in flight");
  }
}

GatewayModel::Member* GatewayModel::Find(const std::string& name) const {
  auto it = std::ranges::find_if(
      table_, [&](const Member* member) { return member->enclave->name() == name; });
  return it == table_.end() ? nullptr : *it;
}

bool GatewayModel::Has(const std::string& name) const { return Find(name) != nullptr; }

std::uint64_t GatewayModel::sent_to(const std::string& name) const { return Find(name)->sent; }

std::size_t GatewayModel::in_flight() const {
  std::size_t sum = 0;
  for (const auto& member : members_) sum += member->in_flight();
  return sum;
}

bool GatewayModel::healthy() const {
  return std::ranges::all_of(table_, [](const Member* member) {
    return member->in_service() && !member->ejected() &&
           std::ranges::all_of(member->streams, &Stream::open);
  });
}

std::string GatewayModel::Health() const {
  std::string text;
  for (const Member* member : table_) {
    text += fmt::format("{}: ready {}, prepared {}, ejected {}, in flight {}, held {}, limit {}\n",
                        member->enclave->name(), member->ready, member->prepared, member->ejected(),
                        member->in_flight(), member->batcher.outstanding(), member->limit.limit());
  }
  return text;
}

}  // namespace bulla
