#include "gateway/routing/fleet.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/log.h"

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

Fleet::Fleet(MakeLink make_link, const Environment& environment)
    : make_link_(std::move(make_link)),
      environment_(environment),
      table_(std::make_shared<const Table>()) {}

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
  const bool others_serve =
      std::ranges::any_of(next.members, [](const auto& member) { return member->in_service(); });
  next.members.push_back(std::make_shared<Member>(link, environment_.clock.Now()));
  next.weights.push_back(others_serve ? 0 : spec.weight);
  next.targets.push_back(spec.weight);
  next.leaving.push_back(false);
  Publish(std::move(next));
  LogInfo("enclave_added", {{"enclave", spec.address.ToString()}, {"weight", spec.weight}});
  link->Start();
  return absl::OkStatus();
}

absl::Status Fleet::Remove(const Address& address) {
  MutexLock lock(mutex_);
  const std::size_t index = IndexOf(address);
  if (index == kNone) return Unknown(address);
  BULLA_RETURN_IF_ERROR(CheckDispensable(index));
  SetTarget(index, 0, /*leaving=*/true);
  return absl::OkStatus();
}

absl::Status Fleet::CheckDispensable(std::size_t index) const {
  if (!table_->members[index]->in_service() || table_->targets[index] == 0) return absl::OkStatus();
  for (std::size_t i = 0; i < table_->members.size(); ++i) {
    if (i != index && table_->targets[i] > 0 && table_->members[i]->in_service()) {
      return absl::OkStatus();
    }
  }
  return absl::FailedPreconditionError(fmt::format(
      "enclave {}: no other serves that has a share of the keys, so nothing could be signed; "
      "add one first, or give another a weight",
      table_->members[index]->link()->name()));
}

void Fleet::SetTarget(std::size_t index, std::uint32_t target, bool leaving) {
  if (table_->targets[index] == target && table_->leaving[index] == leaving) return;
  const Member& member = *table_->members[index];
  LogInfo("enclave_weight",
          {{"enclave", member.link()->name()}, {"target", target}, {"leaving", leaving}});
  if (leaving && (!member.in_service() || table_->weights[index] == 0)) return RemoveLocked(index);
  Table next = *table_;
  next.targets[index] = target;
  next.leaving[index] = leaving;
  table_ = std::make_shared<const Table>(std::move(next));
}

void Fleet::RemoveLocked(std::size_t index) {
  Table next = *table_;
  std::shared_ptr<EnclaveLink> link = next.members[index]->link();
  const auto at = static_cast<std::ptrdiff_t>(index);
  next.members.erase(next.members.begin() + at);
  next.weights.erase(next.weights.begin() + at);
  next.targets.erase(next.targets.begin() + at);
  next.leaving.erase(next.leaving.begin() + at);
  next.retiring.push_back(link);
  Publish(std::move(next));
  LogInfo("enclave_removed", {{"enclave", link->name()}});
  link->Retire();
}

absl::Status Fleet::SetWeight(const Address& address, std::uint32_t weight) {
  BULLA_RETURN_IF_ERROR(CheckWeight(weight));
  MutexLock lock(mutex_);
  const std::size_t index = IndexOf(address);
  if (index == kNone) return Unknown(address);
  if (weight == 0) {
    BULLA_RETURN_IF_ERROR(CheckDispensable(index));
  }
  SetTarget(index, weight, /*leaving=*/false);
  return absl::OkStatus();
}

void Fleet::Reconcile(const std::vector<EnclaveSpec>& specs) {
  MutexLock lock(mutex_);
  for (std::size_t i = table_->members.size(); i-- > 0;) {
    const std::string& name = table_->members[i]->link()->name();
    const bool wanted = std::ranges::any_of(
        specs, [&](const EnclaveSpec& spec) { return spec.address.ToString() == name; });
    if (!wanted) SetTarget(i, 0, /*leaving=*/true);
  }
  for (const EnclaveSpec& spec : specs) {
    const std::size_t index = IndexOf(spec.address);
    if (index != kNone) {
      SetTarget(index, spec.weight, /*leaving=*/false);
    } else if (absl::Status added = AddLocked(spec); !added.ok()) {
      LogError("enclave_refused", {{"reason", added.ToString()}});
    }
  }
}

std::optional<Fleet::Step> Fleet::NextStep() const {
  const std::shared_ptr<const Table> from = table();
  Table to = *from;
  bool any = false;
  for (std::size_t i = 0; i < to.members.size(); ++i) {
    const std::uint32_t now = from->weights[i];
    const std::uint32_t target = from->targets[i];
    if (now == target) continue;
    bool others_serve = false;
    for (std::size_t j = 0; j < to.members.size(); ++j) {
      others_serve |= j != i && from->weights[j] > 0 && from->members[j]->in_service();
    }
    // One that does not serve takes no keys, unless nobody does; and it gives its keys away at
    // once.
    if (target > now && others_serve && !from->members[i]->in_service()) continue;
    const bool at_once = !others_serve || !from->members[i]->in_service();
    const std::uint32_t step = std::max({now, target, HashRing::kFullWeight}) / kSteps;
    to.weights[i] = at_once        ? target
                    : target > now ? std::min(target, now + step)
                                   : std::max(target, now - std::min(now, step));
    any = true;
  }
  if (!any) return std::nullopt;
  return Step{from, WithRing(std::move(to))};
}

void Fleet::Make(const Step& step) {
  MutexLock lock(mutex_);
  if (table_ != step.from) return;
  table_ = step.to;
  for (std::size_t i = table_->members.size(); i-- > 0;) {
    if (table_->leaving[i] && table_->weights[i] == 0) RemoveLocked(i);
  }
}

void Fleet::Publish(Table next) { table_ = WithRing(std::move(next)); }

std::shared_ptr<const Fleet::Table> Fleet::WithRing(Table table) {
  std::vector<HashRing::Member> members;
  for (std::size_t i = 0; i < table.members.size(); ++i) {
    members.push_back({table.members[i]->link()->name(), table.weights[i]});
  }
  table.ring = HashRing(members);
  return std::make_shared<const Table>(std::move(table));
}

void Fleet::Stop() {
  std::shared_ptr<const Table> last;
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    last = table_;
  }
  for (const auto& member : last->members) member->link()->Stop();
  for (const auto& link : last->retiring) link->Stop();
}

// ---- Judging ---------------------------------------------------------------------------------

void Fleet::Tick(MonotonicTime now, const std::function<bool(const EnclaveLink&)>& is_settled) {
  const std::shared_ptr<const Table> current = table();
  for (const auto& member : current->members) {
    const bool others_serve = std::ranges::any_of(current->members, [&](const auto& other) {
      return other != member && other->in_service();
    });
    Prepare(member, now, is_settled(*member->link()), others_serve);
  }
  Judge(*current, now);
  ReapRetired();
}

// A restarted enclave has no data key open: while others serve, it waits until it has, so that
// nobody is told UNLOCK_REQUIRED for its sake.
void Fleet::Prepare(const std::shared_ptr<Member>& member, MonotonicTime now, bool settled,
                    bool others_serve) {
  if (!member->link_->connected()) {
    member->connected_at_.reset();
    member->warmed_up_.store(false, std::memory_order_release);
    return;
  }
  if (member->warmed_up_.load(std::memory_order_relaxed)) return;
  if (!member->connected_at_) member->connected_at_ = now;
  if (!settled && others_serve && now - *member->connected_at_ < kWarmUpTimeout) return;
  std::string boot_id = member->link_->boot_id();
  const bool restarted = !member->boot_id_.empty() && member->boot_id_ != boot_id;
  if (restarted && others_serve) RampUp(*member);
  member->boot_id_ = std::move(boot_id);
  member->warmed_up_.store(true, std::memory_order_release);
}

void Fleet::RampUp(const Member& member) {
  MutexLock lock(mutex_);
  const std::size_t index = IndexOf(member.link()->address());
  if (index == kNone || table_->members[index].get() != &member) return;
  Table next = *table_;
  next.weights[index] = 0;
  Publish(std::move(next));
}

void Fleet::Judge(const Table& table, MonotonicTime now) const {
  std::vector<OutlierDetector::Judged> all;
  std::vector<bool> ejected_before;
  for (const auto& member : table.members) {
    const StreamPool::Outcomes outcomes = member->link_->pool().outcomes();
    member->outlier_detector_.Observe(now, outcomes.answered - member->seen_.answered,
                                      outcomes.unanswered - member->seen_.unanswered,
                                      environment_.random());
    member->seen_ = outcomes;
    all.push_back({&member->outlier_detector_, member->in_service()});
    ejected_before.push_back(member->ejected());
  }
  OutlierDetector::Judge(all, now);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Member& member = *table.members[i];
    if (member.ejected() == ejected_before[i]) continue;
    Log(member.ejected() ? LogLevel::kWarn : LogLevel::kInfo,
        member.ejected() ? "enclave_ejected" : "enclave_trusted",
        {{"enclave", member.link()->name()}});
  }
}

void Fleet::ReapRetired() {
  std::shared_ptr<const Table> before;  // let go of outside the lock
  MutexLock lock(mutex_);
  if (std::ranges::none_of(table_->retiring, [](const auto& link) { return link->retired(); })) {
    return;
  }
  Table next = *table_;
  std::erase_if(next.retiring, [](const auto& link) { return link->retired(); });
  before = std::exchange(table_, std::make_shared<const Table>(std::move(next)));
}

std::size_t Fleet::available() const {
  const std::shared_ptr<const Table> current = table();
  return static_cast<std::size_t>(std::ranges::count_if(
      current->members, [](const auto& member) { return member->available(); }));
}

Fleet::Capacity Fleet::capacity() const {
  Capacity capacity;
  const std::shared_ptr<const Table> current = table();
  for (const auto& member : current->members) {
    const StreamPool::Admitted admitted = member->link_->pool().admitted();
    if (member->in_service()) capacity.in_flight_max += admitted.in_flight_max;
    capacity.refused += admitted.refused;
  }
  return capacity;
}

std::vector<Fleet::Status> Fleet::statuses() const {
  const std::shared_ptr<const Table> current = table();
  std::vector<Status> statuses;
  for (std::size_t i = 0; i < current->members.size(); ++i) {
    const Member& member = *current->members[i];
    statuses.push_back({.link = member.link_->status(),
                        .weight = current->weights[i],
                        .weight_target = current->targets[i],
                        .leaving = current->leaving[i],
                        .in_service = member.in_service(),
                        .ejected = member.ejected()});
  }
  return statuses;
}

}  // namespace bulla
