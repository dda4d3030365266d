#pragma once

// Secrets as a type: N bytes that cannot be copied, compared, printed or forgotten in memory. They
// are wiped when moved from and when destroyed, and there is one door to them, Expose(), so that a
// search for that word finds every place where key bytes are handled.

#include <cstddef>
#include <cstdint>

#include <string.h>

#include "base/bytes.h"

namespace bulla {

// Overwrites memory in a way that the compiler may not leave out.
inline void Wipe(MutableByteSpan bytes) {
  if (!bytes.empty()) ::explicit_bzero(bytes.data(), bytes.size());  // which takes no null pointer
}

// Not thread-safe: whoever shares one guards it.
template <std::size_t N>
class Secret {
 public:
  static constexpr std::size_t kBytes = N;

  Secret() = default;  // all zero: nothing in it yet
  Secret(Secret&& other) noexcept { *this = static_cast<Secret&&>(other); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      other.Clear();
    }
    return *this;
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { Clear(); }

  // A second instance, on purpose and by name: a worker's copy on its own stack.
  Secret Duplicate() const {
    Secret copy;
    copy.bytes_ = bytes_;
    return copy;
  }
  void Clear() { Wipe(bytes_); }

  // The one door. The span must not outlive this object.
  std::span<const std::uint8_t, N> Expose() const {
    return std::span<const std::uint8_t, N>(bytes_);
  }
  std::span<std::uint8_t, N> Expose() { return std::span<std::uint8_t, N>(bytes_); }

  bool operator==(const Secret&) const = delete;

 private:
  ByteArray<N> bytes_{};
};

// Takes the same time wherever the first difference lies.
bool ConstantTimeEquals(ByteSpan a, ByteSpan b);

}  // namespace bulla
