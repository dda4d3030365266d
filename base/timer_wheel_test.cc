#include "base/timer_wheel.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/random.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{10};
const MonotonicTime kStart{hours(1000)};

void Nothing(TimerNode&) {}

std::size_t Fired(TimerWheel& wheel, MonotonicTime now) {
  std::size_t fired = 0;
  wheel.Advance(now, [&](TimerNode&) { ++fired; });
  return fired;
}

TEST(TimerWheel, FiresAtTheEndOfTheTickAndNeverBeforeItsTime) {
  TimerWheel wheel(kStart, kTick);
  TimerNode at_the_edge, just_after;
  wheel.Insert(at_the_edge, kStart + kTick);
  wheel.Insert(just_after, kStart + kTick + nanoseconds(1));
  EXPECT_EQ(Fired(wheel, kStart + kTick - nanoseconds(1)), 0u);
  EXPECT_EQ(Fired(wheel, kStart + kTick), 1u);
  EXPECT_FALSE(at_the_edge.armed());
  EXPECT_EQ(Fired(wheel, kStart + 2 * kTick - nanoseconds(1)), 0u);
  EXPECT_EQ(Fired(wheel, kStart + 2 * kTick), 1u);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimerWheel, WhatIsDueAlreadyFiresWithTheNextTick) {
  TimerWheel wheel(kStart, kTick);
  TimerNode before_the_start, now, least;
  wheel.Insert(before_the_start, kStart - hours(1));
  wheel.Insert(now, kStart);
  wheel.Insert(least, MonotonicTime::min());
  EXPECT_EQ(Fired(wheel, kStart), 0u);
  EXPECT_EQ(Fired(wheel, kStart + kTick), 3u);
}

TEST(TimerWheel, RemovingANodeThatIsNotInItChangesNothing) {
  TimerWheel wheel(kStart, kTick);
  TimerNode never_in, in, fired;
  wheel.Insert(in, kStart + 5 * kTick);
  wheel.Insert(fired, kStart);
  wheel.Advance(kStart + kTick, Nothing);
  wheel.Remove(never_in);
  wheel.Remove(fired);
  EXPECT_EQ(wheel.size(), 1u);
  wheel.Remove(in);
  wheel.Remove(in);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(Fired(wheel, kStart + hours(1)), 0u);
}

TEST(TimerWheel, InsertingANodeAgainMovesIt) {
  TimerWheel wheel(kStart, kTick);
  TimerNode node;
  wheel.Insert(node, kStart + kTick);
  wheel.Insert(node, kStart + hours(1));
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(Fired(wheel, kStart + hours(1) - kTick), 0u);
  EXPECT_EQ(Fired(wheel, kStart + hours(1)), 1u);
}

TEST(TimerWheel, TimeThatStandsStillOrRunsBackDoesNothing) {
  TimerWheel wheel(kStart, kTick);
  wheel.Advance(kStart + 10 * kTick, Nothing);
  TimerNode node;
  wheel.Insert(node, kStart + 3 * kTick);
  EXPECT_EQ(Fired(wheel, kStart + 10 * kTick), 0u);
  EXPECT_EQ(Fired(wheel, kStart), 0u);
  EXPECT_EQ(Fired(wheel, MonotonicTime::min()), 0u);
  EXPECT_EQ(Fired(wheel, kStart + 11 * kTick), 1u);
}

// Where levels meet is where wheels are wrong: powers of 64, from both sides and from several
// current ticks.
TEST(TimerWheel, FiresOnTheTickAtTheBordersOfAllLevels) {
  for (unsigned power = 0; power <= 42; power += 6) {
    for (int begin : {0, 1, 62, 63, 64, 4095, 4096}) {
      for (int offset : {-1, 0, 1}) {
        const MonotonicTime now = kStart + begin * microseconds(100);
        const MonotonicTime due =
            kStart + ((std::int64_t{1} << power) + offset) * microseconds(100);
        if (due <= now || due < kStart) continue;
        TimerWheel wheel(kStart, microseconds(100));
        wheel.Advance(now, Nothing);
        TimerNode node;
        wheel.Insert(node, due);
        EXPECT_EQ(Fired(wheel, due - nanoseconds(1)), 0u) << power << " " << begin << " " << offset;
        EXPECT_EQ(Fired(wheel, due), 1u) << power << " " << begin << " " << offset;
      }
    }
  }
}

TEST(TimerWheel, TheEndOfTimeCanBeWaitedFor) {
  TimerWheel wheel(MonotonicTime::min(), TimerWheel::kGranularityMin);
  TimerNode last;
  wheel.Insert(last, MonotonicTime::max());
  EXPECT_EQ(Fired(wheel, kStart), 0u);
  EXPECT_EQ(Fired(wheel, MonotonicTime::max() - TimerWheel::kGranularityMin), 0u);
  EXPECT_TRUE(last.armed());
  wheel.Remove(last);
  wheel.Insert(last, MonotonicTime::max() - TimerWheel::kGranularityMin);
  EXPECT_EQ(Fired(wheel, MonotonicTime::max()), 1u);
}

TEST(TimerWheel, ANodeMayDestroyItselfAndItsNeighboursWhenItFires) {
  TimerWheel wheel(kStart, kTick);
  std::vector<std::unique_ptr<TimerNode>> nodes;
  for (int i = 0; i < 9; ++i) {
    nodes.push_back(std::make_unique<TimerNode>());
    wheel.Insert(*nodes.back(), kStart + kTick);
  }
  std::size_t fired = 0;
  wheel.Advance(kStart + kTick, [&](TimerNode&) {
    ++fired;
    for (std::unique_ptr<TimerNode>& node : nodes) wheel.Remove(*node);
    nodes.clear();
  });
  EXPECT_EQ(fired, 1u);
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimerWheel, ANodeThatArmsItselfAgainFiresOncePerTickAlsoOverAJump) {
  TimerWheel wheel(kStart, kTick);
  TimerNode node;
  wheel.Insert(node, kStart);
  std::size_t fired = 0;
  wheel.Advance(kStart + 1000 * kTick, [&](TimerNode& it) {
    ++fired;
    wheel.Insert(it, kStart);
  });
  EXPECT_EQ(fired, 1000u);
  EXPECT_TRUE(node.armed());
}

TEST(TimerWheelDeathTest, FnMayNotAdvanceTheWheel) {
  TimerWheel wheel(kStart, kTick);
  TimerNode node;
  wheel.Insert(node, kStart);
  EXPECT_DEATH(
      wheel.Advance(kStart + kTick, [&](TimerNode&) { wheel.Advance(kStart + hours(1), Nothing); }),
      "may not advance");
}

// A century in one call, with one node at its end: most of it is jumped over, or this would take
// minutes.
TEST(TimerWheel, ACenturyIsJumpedOver) {
  TimerWheel wheel(kStart, kTick);
  const hours century{24 * 365 * 100};
  TimerNode near, far;
  wheel.Insert(near, kStart + seconds(1));
  wheel.Insert(far, kStart + century);
  EXPECT_EQ(Fired(wheel, kStart + century - kTick), 1u);
  EXPECT_EQ(Fired(wheel, kStart + century), 1u);
}

// What a tick does is counted, not timed: nodes fired and nodes moved between levels.
TEST(TimerWheel, NoTickDoesMuchMoreThanTheMean) {
  constexpr std::uint64_t kNodes = 200'000;
  constexpr std::uint64_t kTicks = 20'000;  // 200 s: three levels
  TimerWheel wheel(kStart, kTick);
  std::vector<TimerNode> nodes(kNodes);
  for (std::uint64_t i = 0; i < kNodes; ++i) {
    wheel.Insert(nodes[i], kStart + kTick * (1 + i % kTicks));
  }
  std::uint64_t work_max = 0, fired_sum = 0;
  for (std::uint64_t tick = 1; tick <= kTicks; ++tick) {
    const std::uint64_t moves_before = wheel.moves();
    const std::uint64_t fired = Fired(wheel, kStart + kTick * tick);
    fired_sum += fired;
    work_max = std::max(work_max, fired + wheel.moves() - moves_before);
  }
  EXPECT_EQ(fired_sum, kNodes);
  // Ten are due in each tick, and each node comes down two levels: thirty, and roundings.
  EXPECT_LE(work_max, 3 * kNodes / kTicks + 2);
  EXPECT_LE(wheel.moves(), 2 * kNodes);
}

TEST(TimerWheel, WhatIsFarAwayCostsATickNothing) {
  TimerWheel wheel(kStart, kTick);
  std::vector<TimerNode> nodes(100'000);
  for (TimerNode& node : nodes) wheel.Insert(node, kStart + hours(2));
  for (int tick = 1; tick <= 10'000; ++tick) wheel.Advance(kStart + tick * kTick, Nothing);
  EXPECT_EQ(wheel.moves(), 0u);
}

// A wheel and what it should be, a multimap, driven by the same random operations.
class WheelAndModel {
 public:
  explicit WheelAndModel(std::uint64_t seed) : random_(seed), nodes_(kNodes), places_(kNodes) {
    for (auto& place : places_) place = model_.end();
  }

  void Step() {
    switch (random_() % 16) {
      case 0:
      case 1:
        Remove(RandomNode());
        break;
      case 2:
        Advance();
        break;
      default:
        Insert(RandomNode());
    }
    ++operations_;
    ASSERT_EQ(wheel_.size(), model_.size());
  }

  std::uint64_t operations() const { return operations_; }
  std::uint64_t fired() const { return fired_; }

 private:
  static constexpr std::size_t kNodes = 3000;
  using Model = std::multimap<std::int64_t, std::size_t>;  // tick -> node

  std::size_t RandomNode() { return random_() % kNodes; }

  // Up to 52 days: mostly near, now and then far, so that five levels are in use.
  nanoseconds RandomDistance() {
    const std::uint64_t reach_log2 = random_() % 53;
    return nanoseconds(random_() % (std::uint64_t{1} << reach_log2));
  }

  void Insert(std::size_t i) {
    MonotonicTime due = now_ + RandomDistance();
    if (random_() % 8 == 0) due = now_ - RandomDistance();
    if (random_() % 4 == 0) due = now_ + kTick * (random_() % 200);  // crowds and edges
    wheel_.Insert(nodes_[i], due);
    Forget(i);
    const std::int64_t ns = std::chrono::duration_cast<nanoseconds>(due - kStart).count();
    const std::int64_t tick_ns = nanoseconds(kTick).count();
    const std::int64_t due_tick = ns <= 0 ? 0 : (ns + tick_ns - 1) / tick_ns;
    places_[i] = model_.emplace(std::max(due_tick, tick_ + 1), i);
  }

  void Remove(std::size_t i) {
    wheel_.Remove(nodes_[i]);
    Forget(i);
  }

  void Forget(std::size_t i) {
    if (places_[i] != model_.end()) model_.erase(places_[i]);
    places_[i] = model_.end();
  }

  void Advance() {
    // A tick or two, two seconds, or a machine that slept for up to 52 days.
    const std::uint64_t kind = random_() % 64;
    now_ += kind == 0  ? RandomDistance()
            : kind < 8 ? nanoseconds(random_() % nanoseconds(seconds(2)).count())
                       : nanoseconds(random_() % (2 * nanoseconds(kTick).count()));
    const std::int64_t target = (now_ - kStart) / nanoseconds(kTick);
    wheel_.Advance(now_, [&](TimerNode& node) { OnFire(node, target); });
    tick_ = target;
    EXPECT_TRUE(model_.empty() || model_.begin()->first > target) << "left behind";
  }

  void OnFire(TimerNode& node, std::int64_t target) {
    const std::size_t i = static_cast<std::size_t>(&node - nodes_.data());
    ++fired_;
    ++operations_;
    ASSERT_FALSE(node.armed());
    ASSERT_NE(places_[i], model_.end()) << "fired without being in";
    ASSERT_LE(places_[i]->first, target) << "early";
    ASSERT_EQ(places_[i]->first, model_.begin()->first) << "out of order";
    tick_ = places_[i]->first;
    Forget(i);
    ASSERT_EQ(wheel_.size(), model_.size());
    switch (random_() % 8) {
      case 0:
        Insert(i);
        break;
      case 1:
        Insert(RandomNode());
        break;
      case 2:
        Remove(RandomNode());
        break;
      case 3:  // another of this same tick, if there is one
        if (!model_.empty() && model_.begin()->first == tick_) Remove(model_.begin()->second);
        break;
      case 4:
        if (!model_.empty() && model_.begin()->first == tick_) Insert(model_.begin()->second);
        break;
      default:
        break;
    }
  }

  std::mt19937_64 random_;
  std::vector<TimerNode> nodes_;
  Model model_;
  std::vector<Model::iterator> places_;
  TimerWheel wheel_{kStart, kTick};
  MonotonicTime now_ = kStart;
  std::int64_t tick_ = 0;  // the one that fired last, or is firing
  std::uint64_t operations_ = 0;
  std::uint64_t fired_ = 0;
};

TEST(TimerWheel, DoesWhatAMultimapWouldDo) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  std::uint64_t seed = seed_text ? std::strtoull(seed_text, nullptr, 10) : RandomUint64();
  SCOPED_TRACE("BULLA_TEST_SEED=" + std::to_string(seed));
  WheelAndModel both(seed);
  while (both.operations() < 3'000'000 && !HasFailure()) both.Step();
  EXPECT_GT(both.fired(), 100'000u) << "the test tests nothing";
}

}  // namespace
}  // namespace bulla
