#include "gateway/link/unlock_backoff.h"

#include <algorithm>

namespace bulla {
namespace {

constexpr std::chrono::milliseconds kBackoffMin{50};
// That KMS is back is noticed by the next attempt alone, so this is how much longer than KMS itself
// an outage lasts for callers. An attempt every second or two for each DEK is nothing to KMS, and
// the number at once is bounded.
constexpr std::chrono::milliseconds kBackoffMax{2000};
// The same for what KMS refuses for good: that somebody has mended it is noticed within minutes
// without being told, and an account's quota is not spent on refusals.
constexpr std::chrono::milliseconds kRefusedBackoffMin{5000};
constexpr std::chrono::milliseconds kRefusedBackoffMax{240'000};

}  // namespace

std::chrono::milliseconds UnlockBackoff(unsigned attempts, UnlockCause cause,
                                        std::uint64_t random) {
  const auto min = IsFinal(cause) ? kRefusedBackoffMin : kBackoffMin;
  const auto max = IsFinal(cause) ? kRefusedBackoffMax : kBackoffMax;
  const auto wait = std::min(min * (1 << std::min(attempts - 1, 10u)), max);
  return wait / 2 +
         std::chrono::milliseconds(random % static_cast<std::uint64_t>(wait.count() / 2));
}

}  // namespace bulla
