// What the wheel costs, and above all what it does not cost: a tick where nothing is due, with a
// thousand nodes in it and with ten million; the busiest tick of a minute against the mean; one
// insertion and one removal.

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/timer_wheel.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr milliseconds kTick{10};
const MonotonicTime kStart{hours(1000)};

// Nodes with due times drawn evenly from [from, to), in an order that is not that of memory.
class FilledWheel {
 public:
  FilledWheel(std::size_t nodes, Duration from, Duration to) : nodes_(nodes) {
    std::mt19937_64 random(1);
    for (TimerNode& node : nodes_) {
      const std::uint64_t width = static_cast<std::uint64_t>((to - from).count());
      wheel_.Insert(node, kStart + from + Duration(static_cast<std::int64_t>(random() % width)));
    }
  }
  TimerWheel& wheel() { return wheel_; }
  TimerNode& node(std::size_t number) { return nodes_[number % nodes_.size()]; }
  std::size_t Tick() {
    std::size_t fired = 0;
    now_ += kTick;
    wheel_.Advance(now_, [&](TimerNode&) { ++fired; });
    return fired;
  }

 private:
  std::vector<TimerNode> nodes_;
  TimerWheel wheel_{kStart, kTick};
  MonotonicTime now_ = kStart;
};

// Everything is due in 100 to 1000 hours; the runs do not come near it.
void BM_TickWithNothingDue(benchmark::State& state) {
  FilledWheel filled(static_cast<std::size_t>(state.range(0)), hours(100), hours(1000));
  for (auto _ : state) benchmark::DoNotOptimize(filled.Tick());
  if (filled.wheel().size() != static_cast<std::size_t>(state.range(0))) {
    state.SkipWithError("something was due after all");
  }
  state.counters["moves"] = static_cast<double>(filled.wheel().moves());
}
BENCHMARK(BM_TickWithNothingDue)->Arg(1000)->Arg(10'000'000)->Iterations(2'000'000);

// All ticks of the time over which the nodes are due. A tick's cost is the least of several rounds,
// so that what another process did to one of them is left out.
void BM_BusiestTickOfAMinute(benchmark::State& state) {
  constexpr std::size_t kTicks = 6000;  // 60 s
  constexpr int kRounds = 7;
  const std::size_t nodes = static_cast<std::size_t>(state.range(0));
  std::vector<double> least_us(kTicks);
  const RealClock clock;
  for (auto _ : state) {
    std::fill(least_us.begin(), least_us.end(), std::numeric_limits<double>::max());
    for (int round = 0; round < kRounds; ++round) {
      FilledWheel filled(nodes, Duration(0), seconds(60));
      for (double& least : least_us) {
        const MonotonicTime begin = clock.Now();
        benchmark::DoNotOptimize(filled.Tick());
        const std::chrono::duration<double, std::micro> took = clock.Now() - begin;
        least = std::min(least, took.count());
      }
    }
  }
  double sum = 0;
  for (double us : least_us) sum += us;
  const double mean = sum / kTicks;
  const double busiest = *std::max_element(least_us.begin(), least_us.end());
  state.counters["mean_us"] = mean;
  state.counters["busiest_us"] = busiest;
  state.counters["busiest/mean"] = busiest / mean;
}
BENCHMARK(BM_BusiestTickOfAMinute)->Arg(1'000'000)->Iterations(1)->Unit(benchmark::kMillisecond);

// A random node's deadline moved, as when a key is loaded again: one removal and one insertion. The
// larger figure is that of the caches: a node and up to three neighbours from main memory.
void BM_RemoveAndInsert(benchmark::State& state) {
  FilledWheel filled(static_cast<std::size_t>(state.range(0)), Duration(0), minutes(16));
  std::mt19937_64 random(2);
  for (auto _ : state) {
    const std::uint64_t draw = random();
    filled.wheel().Insert(filled.node(draw >> 32),
                          kStart + milliseconds((draw & 0xffff'ffff) % (16 * 60 * 1000)));
  }
}
BENCHMARK(BM_RemoveAndInsert)->Arg(1000)->Arg(10'000'000);

}  // namespace
}  // namespace bulla
