#include "base/timer_wheel.h"

namespace bulla {
namespace {

// As unsigned numbers, so that no pair of times overflows. Requires: to >= from.
std::uint64_t Distance(MonotonicTime from, MonotonicTime to) {
  return static_cast<std::uint64_t>(to.time_since_epoch().count()) -
         static_cast<std::uint64_t>(from.time_since_epoch().count());
}

}  // namespace

TimerWheel::TimerWheel(MonotonicTime start, Duration granularity)
    : start_(start), granularity_(static_cast<std::uint64_t>(granularity.count())) {
  BULLA_CHECK(granularity >= kGranularityMin, "a finer tick would need more than 48 bits");
}

std::uint64_t TimerWheel::ElapsedTicks(MonotonicTime now) const {
  return now <= start_ ? 0 : Distance(start_, now) / granularity_;
}

std::uint64_t TimerWheel::DueTick(MonotonicTime due) const {
  if (due <= start_) return 0;
  std::uint64_t distance = Distance(start_, due);
  return distance / granularity_ + (distance % granularity_ != 0 ? 1 : 0);
}

void TimerWheel::Insert(TimerNode& node, MonotonicTime due) {
  Remove(node);
  // The current tick has fired, or is firing.
  node.due_tick_ = std::max(DueTick(due), current_ + 1) & 0xffff'ffff'ffff;
  Link(node);
}

void TimerWheel::Remove(TimerNode& node) {
  if (node.armed()) Unlink(node);
}

// Into the lowest level whose ring reaches the node's tick: 64 to 128 slots ahead.
void TimerWheel::Link(TimerNode& node) {
  unsigned level = 0;
  for (unsigned shift = kSlotBits; (node.due_tick_ >> shift) - (current_ >> shift) > 1;
       shift += kSlotBits) {
    ++level;
  }
  const std::uint64_t index = ListOf(level, node.due_tick_);
  List& list = lists_[index];
  node.list_ = index & 0xffff;
  node.previous_ = nullptr;
  node.next_ = list.first;
  if (list.first != nullptr) list.first->previous_ = &node;
  list.first = &node;
  ++list.count;
  ++held_[level];
  ++size_;
}

void TimerWheel::Unlink(TimerNode& node) {
  List& list = lists_[node.list_];
  (node.previous_ == nullptr ? list.first : node.previous_->next_) = node.next_;
  if (node.next_ != nullptr) node.next_->previous_ = node.previous_;
  --list.count;
  --held_[node.list_ / kRing];
  --size_;
  node.list_ = TimerNode::kNoList;
}

// The next tick that must not be jumped over. While the levels below l are empty, nothing is due
// before the next slot of level l begins, and it is early enough to move that slot's nodes in the
// tick before. (In the last tick of a slot the next one has moved already, so that if the levels
// below are empty even then, the same holds for the slot after it; hence the + 1.)
std::uint64_t TimerWheel::NextStop() const {
  std::uint64_t stop = current_ + 1;
  for (unsigned level = 0; level < kLevels && held_[level] == 0; ++level) {
    stop |= (std::uint64_t{1} << (kSlotBits * (level + 1))) - 1;
  }
  return stop;
}

// On each level, moves as much of the next slot as keeps the rest even over the ticks that are left
// before it begins: what is left per tick, rounded down, and in the last tick all of it.
void TimerWheel::MoveShares() {
  for (unsigned level = 1; level < kLevels; ++level) {
    if (held_[level] == 0) continue;
    const std::uint64_t span = std::uint64_t{1} << (kSlotBits * level);
    const List& next_slot = lists_[ListOf(level, current_ + span)];
    const std::uint64_t ticks_left = span - current_ % span;
    std::uint64_t share = next_slot.count / ticks_left;
    moves_ += share;
    for (; share > 0; --share) {
      TimerNode& node = *next_slot.first;
      Unlink(node);
      Link(node);
    }
  }
}

}  // namespace bulla
