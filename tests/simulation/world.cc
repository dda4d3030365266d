#include "tests/simulation/world.h"

#include <algorithm>
#include <stdexcept>

namespace bulla {
namespace {

class SimulatedTimer final : public Timer {
 public:
  SimulatedTimer(World& world, Timers::Fire fire)
      : state_(std::make_shared<State>(State{world, std::move(fire)})) {}
  ~SimulatedTimer() override { Stop(); }
  void WakeBy(MonotonicTime time) override { Plan(state_, time); }
  void Stop() override { state_->stopped = true; }

 private:
  struct State {
    World& world;
    Timers::Fire fire;
    MonotonicTime next = MonotonicTime::max();
    bool firing = false;
    bool stopped = false;
  };

  static void Plan(const std::shared_ptr<State>& state, MonotonicTime time) {
    time = std::max(time, state->world.now);
    if (time >= state->next || time == MonotonicTime::max()) return;
    state->next = time;
    state->world.agenda.At(time, [state, time] {
      if (state->stopped || state->next != time) return;
      state->next = MonotonicTime::max();
      Plan(state, state->fire());
    });
  }

  const std::shared_ptr<State> state_;
};

}  // namespace

void World::RunUntil(MonotonicTime end) {
  constexpr int kAtOnceMax = 1'000'000;
  int at_once = 0;
  while (!agenda.empty() && agenda.next() <= end) {
    at_once = agenda.next() > now ? 0 : at_once + 1;
    if (at_once > kAtOnceMax) throw std::runtime_error("time stands still");
    now = std::max(now, agenda.next());
    ++steps;
    agenda.Take()();
  }
  now = end;
}

std::unique_ptr<Timer> SimulatedTimers::Make(std::string, Fire fire) {
  return std::make_unique<SimulatedTimer>(world_, std::move(fire));
}

void SimulatedStore::Later(std::function<void()> answer) {
  if (wait_ == Duration::zero()) return answer();
  world_.After(wait_, std::move(answer));
}

std::size_t SimulatedStore::same_key_at_once() const {
  std::size_t most = 0;
  for (const auto& [key, count] : looking_for_) most = std::max(most, count);
  return most;
}

void SimulatedStore::FindKey(const KeyId& key_id,
                             std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) {
  ++looking_for_[key_id];
  Later([this, key_id, done = std::move(done)] {
    if (--looking_for_[key_id] == 0) looking_for_.erase(key_id);
    FakeKeyStore::FindKey(key_id, done);
  });
}

void SimulatedStore::FindDek(const DekId& dek_id,
                             std::function<void(absl::StatusOr<std::optional<DekRow>>)> done) {
  Later([this, dek_id, done = std::move(done)] { FakeKeyStore::FindDek(dek_id, done); });
}

void SimulatedStore::PutDek(DekRow row, std::function<void(absl::Status)> done) {
  Later([this, row = std::move(row), done = std::move(done)] { FakeKeyStore::PutDek(row, done); });
}

void SimulatedStore::ListDeksInUse(std::size_t limit,
                                   std::function<void(absl::StatusOr<std::vector<DekRow>>)> done) {
  Later([this, limit, done = std::move(done)] { FakeKeyStore::ListDeksInUse(limit, done); });
}

void SimulatedStore::ListKeyChanges(
    std::int64_t after, std::size_t limit,
    std::function<void(absl::StatusOr<std::vector<KeyChange>>)> done) {
  Later([this, after, limit, done = std::move(done)] {
    FakeKeyStore::ListKeyChanges(after, limit, done);
  });
}

}  // namespace bulla
