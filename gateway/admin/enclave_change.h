#pragma once

// A change of the enclaves that an operator asks for over the admin listener: which enclave is to
// come, go or take another share of the keys. The JSON of it, read strictly: what is not understood
// is refused, since half a change of where keys are signed is worse than none.

#include <cstdint>
#include <string_view>

#include "base/status.h"
#include "gateway/routing/fleet.h"
#include "gateway/routing/hash_ring.h"
#include "wire/address.h"

namespace bulla {

struct EnclaveChange {
  enum class Kind : std::uint8_t { kAdd, kSetWeight, kRemove };

  Kind kind = Kind::kAdd;
  Address address;
  std::uint32_t weight = HashRing::kFullWeight;  // of no meaning where one is removed
};

// {"address": "unix:/run/e1.sock"[, "weight": 50]}, weight in percent, 0 to HashRing::kWeightMax:
// optional to add (100), needed to set it, unknown to remove. INVALID_ARGUMENT names the member,
// what arrived and what was wanted. Pure.
absl::StatusOr<EnclaveChange> ParseEnclaveChange(EnclaveChange::Kind kind, std::string_view body);

// Makes it. The statuses are those of Fleet, and of an address that `platform` does not allow.
absl::Status ApplyEnclaveChange(const EnclaveChange& change, std::string_view platform,
                                Fleet& fleet);

}  // namespace bulla
