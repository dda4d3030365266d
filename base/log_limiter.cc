#include "base/log_limiter.h"

#include <algorithm>
#include <utility>

namespace bulla {

std::optional<std::uint64_t> LogLimiter::Admit(std::string_view event, MonotonicTime now) {
  auto found = events_.find(event);
  if (found == events_.end()) {
    if (events_.size() >= kEventsMax) event = "";
    found = events_.try_emplace(std::string(event), Allowance{.counted_at = now}).first;
  }
  Allowance& allowance = found->second;
  const auto allowed = std::max<Duration::rep>(0, (now - allowance.counted_at) / kInterval);
  allowance.counted_at += allowed * kInterval;
  allowance.lines = static_cast<std::uint32_t>(
      std::min<Duration::rep>(kBurst, allowed + Duration::rep{allowance.lines}));
  if (allowance.lines == 0) {
    ++allowance.left_out;
    return std::nullopt;
  }
  --allowance.lines;
  return std::exchange(allowance.left_out, 0);
}

}  // namespace bulla
