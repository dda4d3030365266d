#include "gateway/fleet.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/log.h"
#include "base/random.h"

namespace bulla {
namespace {

absl::Status CheckWeight(std::uint32_t weight) {
  if (weight <= HashRing::kWeightMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("weight: got {}, want 0 to {}", weight, HashRing::kWeightMax));
}

absl::Status Unknown(const Address& address) {
  return absl::NotFoundError(
      fmt::format("enclave {}: there is none of that address; `bulla status` "
                  "lists those that there are",
                  address.ToString()));
}

}  // namespace

bool Fleet::Member::Takes() {
  if (!serves()) return false;
  const Standing standing = standing_.load(std::memory_order_relaxed);
  if (standing != Standing::kTrial) return standing == Standing::kRelied;
  return trials_left_.load(std::memory_order_relaxed) > 0 &&
         trials_left_.fetch_sub(1, std::memory_order_relaxed) > 0;
}

Fleet::Fleet(MakeLink make_link, const Clock& clock)
    : make_link_(std::move(make_link)), clock_(clock), table_(std::make_shared<const Table>()) {}

Fleet::~Fleet() { Stop(); }

std::shared_ptr<const Fleet::Table> Fleet::table() const {
  MutexLock lock(mutex_);
  return table_;
}

// ---- Coming and going ------------------------------------------------------------------------

std::size_t Fleet::IndexOf(const Address& address) const {
  for (std::size_t i = 0; i < table_->members.size(); ++i) {
    if (table_->members[i]->link()->name() == address.ToString()) return i;
  }
  return kNone;
}

absl::Status Fleet::Add(const EnclaveSpec& spec) {
  MutexLock lock(mutex_);
  return AddLocked(spec);
}

absl::Status Fleet::AddLocked(const EnclaveSpec& spec) {
  BULLA_RETURN_IF_ERROR(CheckWeight(spec.weight));
  if (stopped_) return absl::CancelledError("the gateway is stopping");
  if (IndexOf(spec.address) != kNone) {
    return absl::AlreadyExistsError(
        fmt::format("enclave {}: is there already", spec.address.ToString()));
  }
  if (table_->members.size() == HashRing::kMembersMax) {
    return absl::ResourceExhaustedError(
        fmt::format("enclaves: {} are there, which is the most", HashRing::kMembersMax));
  }
  std::shared_ptr<EnclaveLink> link = make_link_(spec.address, next_id_++);
  Table next = *table_;
  next.members.push_back(std::make_shared<Member>(link, clock_.Now()));
  next.weights.push_back(spec.weight);
  Publish(std::move(next));
  LogInfo("enclave_added", {{"enclave", spec.address.ToString()}, {"weight", spec.weight}});
  link->Start();
  return absl::OkStatus();
}

absl::Status Fleet::Remove(const Address& address) {
  MutexLock lock(mutex_);
  const std::size_t index = IndexOf(address);
  if (index == kNone) return Unknown(address);
  RemoveLocked(index);
  return absl::OkStatus();
}

void Fleet::RemoveLocked(std::size_t index) {
  Table next = *table_;
  std::shared_ptr<EnclaveLink> link = next.members[index]->link();
  next.members.erase(next.members.begin() + static_cast<std::ptrdiff_t>(index));
  next.weights.erase(next.weights.begin() + static_cast<std::ptrdiff_t>(index));
  Publish(std::move(next));
  LogInfo("enclave_removed", {{"enclave", link->name()}});
  link->Retire();
  retiring_.push_back(std::move(link));
}

absl::Status Fleet::SetWeight(const Address& address, std::uint32_t weight) {
  BULLA_RETURN_IF_ERROR(CheckWeight(weight));
  MutexLock lock(mutex_);
  const std::size_t index = IndexOf(address);
  if (index == kNone) return Unknown(address);
  if (table_->weights[index] == weight) return absl::OkStatus();
  Table next = *table_;
  next.weights[index] = weight;
  Publish(std::move(next));
  LogInfo("enclave_weight", {{"enclave", address.ToString()}, {"weight", weight}});
  return absl::OkStatus();
}

void Fleet::Become(const std::vector<EnclaveSpec>& specs) {
  MutexLock lock(mutex_);
  for (std::size_t i = table_->members.size(); i-- > 0;) {
    const std::string& name = table_->members[i]->link()->name();
    const bool wanted = std::ranges::any_of(
        specs, [&](const EnclaveSpec& spec) { return spec.address.ToString() == name; });
    if (!wanted) RemoveLocked(i);
  }
  for (const EnclaveSpec& spec : specs) {
    const std::size_t index = IndexOf(spec.address);
    if (index == kNone) {
      absl::Status added = AddLocked(spec);
      if (!added.ok()) LogError("enclave_refused", {{"reason", added.ToString()}});
    } else if (table_->weights[index] != spec.weight) {
      Table next = *table_;
      next.weights[index] = spec.weight;
      Publish(std::move(next));
    }
  }
}

void Fleet::Publish(Table next) {
  std::vector<HashRing::Member> members;
  for (std::size_t i = 0; i < next.members.size(); ++i) {
    members.push_back({next.members[i]->link()->name(), next.weights[i]});
  }
  next.ring = HashRing(members);
  table_ = std::make_shared<const Table>(std::move(next));
}

void Fleet::Stop() {
  std::shared_ptr<const Table> last;
  std::vector<std::shared_ptr<EnclaveLink>> retiring;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    last = table_;
    retiring.swap(retiring_);
  }
  for (const auto& member : last->members) member->link()->Stop();
  for (const auto& link : retiring) link->Stop();
}

// ---- Judging ---------------------------------------------------------------------------------

void Fleet::Tick(MonotonicTime now, const std::function<bool(const EnclaveLink&)>& is_settled) {
  const std::shared_ptr<const Table> current = table();
  for (const auto& member : current->members) {
    const bool others_serve = std::ranges::any_of(
        current->members, [&](const auto& other) { return other != member && other->serves(); });
    Prepare(*member, now, is_settled(*member->link()), others_serve);
  }
  Judge(*current, now);
  ReapRetired();
}

// A restarted enclave has no data key open: while others serve, it waits until it has, so that
// nobody is told UNLOCK_REQUIRED for its sake.
void Fleet::Prepare(Member& member, MonotonicTime now, bool settled, bool others_serve) {
  if (!member.link_->ready()) {
    member.connected_at_.reset();
    member.prepared_.store(false, std::memory_order_release);
    return;
  }
  if (member.prepared_.load(std::memory_order_relaxed)) return;
  if (!member.connected_at_) member.connected_at_ = now;
  if (settled || !others_serve || now - *member.connected_at_ >= kPreparePatience) {
    member.prepared_.store(true, std::memory_order_release);
  }
}

void Fleet::Judge(const Table& table, MonotonicTime now) {
  std::size_t serving = 0;
  std::size_t ejected = 0;
  for (const auto& member : table.members) {
    const StreamPool::Outcomes outcomes = member->link_->pool().outcomes();
    member->breaker_.Observe(now, outcomes.answered - member->seen_.answered,
                             outcomes.unanswered - member->seen_.unanswered, RandomUint64());
    member->seen_ = outcomes;
    if (member->serves()) ++serving;
    if (member->serves() && member->ejected()) ++ejected;
  }
  const std::size_t ejected_max = serving * kEjectedMaxPercent / 100;
  using Standing = Member::Standing;
  for (const auto& member : table.members) {
    const CircuitBreaker::State state = member->breaker_.state();
    const Standing before = member->standing_.load(std::memory_order_relaxed);
    Standing after = Standing::kRelied;
    if (state == CircuitBreaker::State::kOpen) after = Standing::kEjected;
    if (state == CircuitBreaker::State::kHalfOpen) after = Standing::kTrial;
    if (after != Standing::kRelied && before == Standing::kRelied) {
      if (ejected >= ejected_max) continue;  // detected, not ejected
      ++ejected;
    }
    if (after == Standing::kTrial) GiveTrials(*member, now);
    if (after == before) continue;
    member->standing_.store(after, std::memory_order_relaxed);
    if (before == Standing::kRelied)
      LogWarn("enclave_ejected", {{"enclave", member->link_->name()}});
    if (after == Standing::kRelied)
      LogInfo("enclave_trusted", {{"enclave", member->link_->name()}});
  }
}

// Anew after a second: a signature may have been let through and refused for another reason, so
// that nothing was learned.
void Fleet::GiveTrials(Member& member, MonotonicTime now) {
  const bool begins = member.standing_.load(std::memory_order_relaxed) != Member::Standing::kTrial;
  if (!begins && now - member.trials_given_at_ < std::chrono::seconds(1)) return;
  member.trials_given_at_ = now;
  member.trials_left_.store(static_cast<int>(CircuitBreaker::kTrials), std::memory_order_relaxed);
}

void Fleet::ReapRetired() {
  std::vector<std::shared_ptr<EnclaveLink>> gone;  // let go of outside the lock
  MutexLock lock(mutex_);
  for (auto it = retiring_.begin(); it != retiring_.end();) {
    if (!(*it)->retired()) {
      ++it;
      continue;
    }
    gone.push_back(std::move(*it));
    it = retiring_.erase(it);
  }
}

std::size_t Fleet::reliable() const {
  const std::shared_ptr<const Table> current = table();
  return static_cast<std::size_t>(std::ranges::count_if(
      current->members, [](const auto& member) { return member->serves() && !member->ejected(); }));
}

std::vector<Fleet::Status> Fleet::statuses() const {
  const std::shared_ptr<const Table> current = table();
  std::vector<Status> statuses;
  for (std::size_t i = 0; i < current->members.size(); ++i) {
    const Member& member = *current->members[i];
    statuses.push_back({.link = member.link_->status(),
                        .weight = current->weights[i],
                        .serves = member.serves(),
                        .ejected = member.ejected()});
  }
  return statuses;
}

}  // namespace bulla
