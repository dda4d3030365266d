#pragma once

// Which signatures are retried, and where. Signing is deterministic, so retrying one that was
// computed already does no harm.
//
// Pure: owns no thread, lock or clock.

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "gateway/call/signer_service.h"
#include "gateway/routing/data_plane_settings.h"
#include "gateway/routing/hash_ring.h"

namespace bulla {

// Why an enclave did not sign.
enum class RetryReason {
  kLost,              // nothing came back: another one is asked
  kNoDek,             // the DEK is not open there: another one that has it open is asked
  kRehydrateTimeout,  // the key was still being opened: the same one is asked, which goes on
                      // opening it
};

inline bool MayRetry(const SignCall& call, const RetrySettings& settings, MonotonicTime now) {
  return call.retries < std::min(settings.count_max.Get(), SignCall::kRetriesMax) &&
         now < call.deadline;
}

// `from` has not signed it. Requires: it may be retried.
inline void CountRetry(SignCall& call, const RetrySettings& settings, std::uint32_t from,
                       MonotonicTime now) {
  if (call.retries == 0) call.deadline = std::min(call.deadline, now + settings.timeout.Get());
  call.avoid[call.retries++] = from;
}

// The index of the enclave to ask instead of `from`; nothing when there is none. `members` are by
// their index in the ring, with id(), available() and TryAdmit(), which is asked last, since it may
// use up a trial. `holds_dek(member)`: the call's DEK is open there.
template <typename Members, typename HoldsDek>
std::optional<std::size_t> FindRetryTarget(const HashRing& ring, const Members& members,
                                           const SignCall& call, std::uint32_t from,
                                           RetryReason reason, HoldsDek holds_dek) {
  if (reason == RetryReason::kRehydrateTimeout) {
    return ring.Find(call.key_id, [&](std::size_t index) {
      return members[index]->id() == from && members[index]->TryAdmit();
    });
  }
  const auto avoided = call.avoid.begin() + call.retries;
  std::optional<std::size_t> other = ring.Find(call.key_id, [&](std::size_t index) {
    auto& member = *members[index];
    return member.id() != from && std::find(call.avoid.begin(), avoided, member.id()) == avoided &&
           (reason != RetryReason::kNoDek || holds_dek(member)) && member.TryAdmit();
  });
  if (other || reason != RetryReason::kLost) return other;
  // One stream was cut, and the enclave has others.
  return ring.Find(call.key_id, [&](std::size_t index) { return members[index]->available(); });
}

}  // namespace bulla
