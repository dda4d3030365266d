#pragma once

// What a simulation is driven by: chance from a seed, and a list of what happens when.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <utility>

#include "base/clock.h"

namespace bulla {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t Roll() { return engine_(); }
  std::size_t Below(std::size_t n) { return Roll() % n; }
  bool OneIn(std::size_t n) { return Below(n) == 0; }
  Duration Between(Duration a, Duration b) {
    return a +
           Duration(static_cast<Duration::rep>(Below(static_cast<std::size_t>((b - a).count()))));
  }

 private:
  std::mt19937_64 engine_;
};

// What happens later, in the order of its time; of one time, in the order of its planning.
class Agenda {
 public:
  void At(MonotonicTime when, std::function<void()> what) {
    events_.emplace(when, std::move(what));
  }
  bool empty() const { return events_.empty(); }
  MonotonicTime next() const { return events_.begin()->first; }
  std::function<void()> Take() { return std::move(events_.extract(events_.begin()).mapped()); }

 private:
  std::multimap<MonotonicTime, std::function<void()>> events_;
};

}  // namespace bulla
