#pragma once

// How often a line of one kind may be logged. Much of what is logged somebody else can make happen,
// a peer or a fault that lasts, and as often as they like: the log may not become what fills the
// disk. So of each event the first kBurst lines are written, and then one for each kInterval, which
// says how many were left out before it.
//
// base/log asks for every line, so that no place that logs has to think of it.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace bulla {

// Pure: owns no lock and no clock. Not thread-safe.
class LogLimiter {
 public:
  // A line of the same event for each enclave that a gateway may have, at once.
  static constexpr std::uint32_t kBurst = 64;
  static constexpr Duration kInterval = std::chrono::seconds(1);
  // Events are named in our source, a hundred or so. What is over this shares one place.
  static constexpr std::size_t kEventsMax = 512;

  // How many lines of `event` were left out since the last that was written; nothing when this one
  // is to be left out too.
  std::optional<std::uint64_t> Admit(std::string_view event, MonotonicTime now);

 private:
  struct Allowance {
    std::uint32_t lines = kBurst;
    MonotonicTime counted_at;
    std::uint64_t left_out = 0;
  };

  std::map<std::string, Allowance, std::less<>> events_;
};

}  // namespace bulla
