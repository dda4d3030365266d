#pragma once

// Deadlines by the million. The owner of a deadline carries a TimerNode; the wheel links the nodes
// into lists by due time and allocates nothing. What it promises beyond the usual wheel (Varghese
// and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7) is that no tick is much
// dearer than another. There, a coarse slot is emptied into the finer level in the one tick that
// enters it, and whoever holds the lock then holds it for every node of that slot. Here each
// level's ring is twice as long as its span, so that the finer level has room for the coarse slot
// that comes next, and every tick of the slot before moves its share of the nodes.
//
// Time is counted in ticks of the granularity. Level l has slots of 64^l ticks. While the current
// tick is in slot b of a level, slot b+1 of it moves down and slot b is empty: its nodes are lower,
// or have fired. A node enters at the lowest level where its slot's parent is the current parent or
// the next, which is never a slot that is moving. Eight levels hold any time there is, so nothing
// is "beyond the horizon"; with 10 ms a node that is due in 16 minutes is moved twice in its life.
// 64 slots a level and not 256, because the lists (16 KiB) are paid for by each shard that has a
// wheel.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/clock.h"

namespace bulla {

// What an owner embeds or derives from. It stays where it is while it is in a wheel, and leaves the
// wheel (fired or removed) before it is destroyed. Guarded by what guards the wheel.
class TimerNode {
 public:
  TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  bool armed() const { return list_ != kNoList; }  // is it in a wheel?

 private:
  friend class TimerWheel;
  static constexpr std::uint64_t kNoList = 0xffff;

  TimerNode* next_ = nullptr;
  TimerNode* previous_ = nullptr;
  std::uint64_t due_tick_ : 48 = 0;
  std::uint64_t list_ : 16 = kNoList;
};
static_assert(sizeof(TimerNode) == 24, "there may be ten million");

// Not thread-safe: the owner guards it.
class TimerWheel {
 public:
  // The finest granularity: with it, 48 bits of ticks are more than 64 bits of nanoseconds.
  static constexpr Duration kGranularityMin = std::chrono::microseconds(100);

  // Requires: granularity >= kGranularityMin.
  TimerWheel(MonotonicTime start, Duration granularity);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Has `node` fire at the first Advance() whose `now` has reached the end of due's tick: never
  // before `due`, and after it by less than one granularity plus the distance between calls. What
  // is due already fires with the next tick. A node that is in the wheel is moved. O(1).
  // Requires: the node is in no other wheel.
  void Insert(TimerNode& node, MonotonicTime due);

  // Takes `node` out; one that is not in, stays out. O(1).
  void Remove(TimerNode& node);

  // Calls fn(TimerNode&) for each node that is due, in the order of their ticks (and in any order
  // within one), each removed first. fn may insert and remove any node, the one it got and others
  // of the same tick among them (and destroy what is out); what it inserts as due by `now` fires in
  // this same call, after the current tick. It may not call Advance(). A `now` before the last one
  // does nothing. The cost: that of the nodes that are due, a share of those that come near (each
  // moves at most seven times in its life, and no more than a 64th of a slot at a time while calls
  // are no further apart than ticks), and a constant. Ticks where nothing can happen are jumped
  // over.
  template <typename Fn>
  void Advance(MonotonicTime now, Fn&& fn) {
    BULLA_CHECK(!advancing_, "fn may not advance the wheel that called it");
    advancing_ = true;
    const std::uint64_t target = ElapsedTicks(now);
    while (current_ < target) {
      current_ = std::min(target, NextStop());
      MoveShares();
      const List& due = lists_[current_ % kRing];
      while (due.first != nullptr) {
        TimerNode& node = *due.first;
        Unlink(node);
        fn(node);
      }
    }
    advancing_ = false;
  }

  std::size_t size() const { return size_; }
  // Moves between levels since the start: what Advance() did besides firing.
  std::uint64_t moves() const { return moves_; }

 private:
  static constexpr unsigned kSlotBits = 6;  // 64 slots of a level span one of the next
  static constexpr std::uint64_t kRing = std::uint64_t{2} << kSlotBits;
  static constexpr unsigned kLevels = 48 / kSlotBits;

  struct List {
    TimerNode* first = nullptr;
    std::uint64_t count = 0;
  };

  std::uint64_t ElapsedTicks(MonotonicTime now) const;  // whole ticks from the start: rounds down
  std::uint64_t DueTick(MonotonicTime due) const;       // the first that is not early: rounds up
  static std::uint64_t ListOf(unsigned level, std::uint64_t tick) {
    return level * kRing + (tick >> (kSlotBits * level)) % kRing;
  }
  void Link(TimerNode& node);
  void Unlink(TimerNode& node);
  std::uint64_t NextStop() const;
  void MoveShares();

  const MonotonicTime start_;
  const std::uint64_t granularity_;  // in units of Duration
  std::uint64_t current_ = 0;        // the tick that has fired last
  std::size_t size_ = 0;
  std::uint64_t moves_ = 0;
  bool advancing_ = false;
  std::array<std::uint64_t, kLevels> held_{};  // nodes in each level
  std::array<List, kLevels * kRing> lists_{};  // level by level
};

}  // namespace bulla
