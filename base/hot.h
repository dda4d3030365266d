#pragma once

// A setting that may change while the program runs. A setting is hot because its type is Hot<T>,
// and by nothing else: from the type ConfigReader knows that it needs no restart, and from the type
// whoever reads it knows that it has to be read at each use. There is one live value of each, which
// main owns; a part holds a reference to those that are its own and copies none.
//
// Reading costs a relaxed load. Each value is read by itself: who reads two that belong together
// has to make do with an old one and a new one for a moment.

#include <atomic>
#include <type_traits>

namespace bulla {

// Thread-safe. Copying takes over the value of that moment.
template <typename T>
class Hot {
  static_assert(std::atomic<T>::is_always_lock_free, "it is read on the way of each signature");

 public:
  using Value = T;

  Hot(T value) : value_(value) {}  // NOLINT: implicit, so that a member's default reads `{50}`
  Hot(const Hot& other) : value_(other.Get()) {}
  Hot& operator=(const Hot& other) { return *this = other.Get(); }
  Hot& operator=(T value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  ~Hot() = default;

  T Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<T> value_;
};

// Of a setting's member, hot or not: the type of its value, and the value.
template <typename Member>
struct SettingTraits {
  using Value = Member;
  static constexpr bool kHot = false;
  static const Value& Get(const Member& member) { return member; }
};
template <typename T>
struct SettingTraits<Hot<T>> {
  using Value = T;
  static constexpr bool kHot = true;
  static T Get(const Hot<T>& member) { return member.Get(); }
};

}  // namespace bulla
