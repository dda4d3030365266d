#pragma once

// Which disabled keys one enclave has yet to be told to forget. A process that has just been
// greeted is told of all of them, since it may have had some before they were disabled; then of
// each as it is disabled, and of each again a few seconds later: a blob that was under way to the
// enclave when its key was disabled may have arrived there after the first telling.
//
// Owns no thread and no connection. Confined to the link's thread.

#include <array>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "gateway/link/disabled_keys.h"

namespace bulla {

class Forgetting {
 public:
  // Longer than any call is under way.
  static constexpr std::chrono::seconds kAgainAfter{3};

  explicit Forgetting(const DisabledKeys& disabled) : disabled_(disabled) {}

  // Another process is there now, or the same one with a past that is not known.
  void Begin();
  // The next keys to name to the enclave, at most `max`; none when all were named. Told once: what
  // does not arrive is told by beginning again.
  std::vector<KeyId> Next(std::size_t max, MonotonicTime now);

 private:
  void Rewind(MonotonicTime now);

  const DisabledKeys& disabled_;
  // Of the snapshot's parts, and of the keys within one: what is named next. At the end: all were.
  std::size_t part_ = 0;
  std::vector<KeyId> part_left_;
  std::uint64_t mark_ = 0;
  std::array<std::uint64_t, 2> earlier_{};  // marks one and two rewinds ago
  MonotonicTime rewind_at_{};
};

}  // namespace bulla
