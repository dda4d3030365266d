#pragma once

// The world around the gateway under simulation: time, chance and what happens later, from one
// seed. The gateway's own code sees it as its clock, its timers and its store.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/timer.h"
#include "tests/fakes/fake_key_store.h"
#include "tests/simulation/chance_and_time.h"

namespace bulla {

// Time, chance, what happens later, and a hash of what happened.
struct World {
  explicit World(std::uint64_t seed) : dice(seed) {}

  void After(Duration wait, std::function<void()> what) { agenda.At(now + wait, std::move(what)); }
  // Throws when time stands still.
  void RunUntil(MonotonicTime end);
  // FNV-1a over all that is noted: one seed, one history.
  void Note(std::uint64_t what) { history = (history ^ what) * 0x100000001b3; }

  MonotonicTime now{std::chrono::hours(1000)};
  Dice dice;
  Agenda agenda;
  std::uint64_t steps = 0;
  std::uint64_t history = 0xcbf29ce484222325;
};

class SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(const World& world) : world_(world) {}
  MonotonicTime Now() const override { return world_.now; }
  WallTime WallNow() const override {
    return WallTime(std::chrono::duration_cast<WallTime::duration>(world_.now.time_since_epoch()));
  }

 private:
  const World& world_;
};

class SimulatedTimers final : public Timers {
 public:
  explicit SimulatedTimers(World& world) : world_(world) {}
  std::unique_ptr<Timer> Make(std::string name, Fire fire) override;

 private:
  World& world_;
};

// A store that answers after a while.
class SimulatedStore final : public FakeKeyStore {
 public:
  explicit SimulatedStore(World& world) : world_(world) {}
  // Zero: at once, within the call.
  void Delay(Duration wait) { wait_ = wait; }
  // How often one key is being looked for at this moment, at most.
  std::size_t same_key_at_once() const;

  void FindKey(const KeyId& key_id,
               std::function<void(absl::StatusOr<std::optional<KeyRow>>)> done) override;
  void FindDek(const DekId& dek_id,
               std::function<void(absl::StatusOr<std::optional<DekRow>>)> done) override;
  void PutDek(DekRow row, std::function<void(absl::Status)> done) override;
  void ListDeksInUse(std::size_t limit,
                     std::function<void(absl::StatusOr<std::vector<DekRow>>)> done) override;
  void ListKeyChanges(std::int64_t after, std::size_t limit,
                      std::function<void(absl::StatusOr<std::vector<KeyChange>>)> done) override;

 private:
  void Later(std::function<void()> answer);

  World& world_;
  Duration wait_{};
  std::map<KeyId, std::size_t> looking_for_;
};

}  // namespace bulla
