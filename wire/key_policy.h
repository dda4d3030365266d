#pragma once

// How long secrets live in an enclave and how much it keeps. The image of an enclave has its own
// policy, within ceilings that are built in; the gateway, which is not trusted with secrets, may
// ask for a tighter one at any time and never for a looser one.

#include <chrono>
#include <cstdint>
#include <span>

#include <google/protobuf/repeated_ptr_field.h>

#include "base/config.h"
#include "base/status.h"

namespace bulla::wire::v1 {
class PolicySetting;
}  // namespace bulla::wire::v1

namespace bulla {

// The defaults are those of the spec. In a request, zero is "as the image has it".
struct KeyPolicy {
  using Microseconds = std::chrono::microseconds;

  Microseconds plain_key_ttl_soft = std::chrono::minutes(15);
  Microseconds plain_key_ttl_hard = std::chrono::minutes(16);
  std::uint64_t plain_key_uses_max = 1'000'000;
  // A key in use is opened anew ahead of time when less than this is left of its soft TTL,
  Microseconds plain_key_refresh_window = std::chrono::minutes(2);
  // or this many uses.
  std::uint64_t plain_key_low_water_mark = 500;
  Microseconds dek_ttl_soft = std::chrono::minutes(55);
  Microseconds dek_ttl_hard = std::chrono::minutes(60);
  // How long a signature waits for its key to be opened.
  Microseconds sign_wait_budget = std::chrono::milliseconds(3);
  // How long an opening may take before no further signature waits for it.
  Microseconds hard_refresh_budget = std::chrono::milliseconds(5);
  // For keys: blobs, plain keys, and what finds them.
  std::uint64_t memory_budget_mib = 2048;

  friend bool operator==(const KeyPolicy&, const KeyPolicy&) = default;
};

// The settings under their names, with the limits that no image can exceed: for an enclave.
void RegisterKeyPolicy(KeyPolicy& policy, ConfigReader& reader);
// The same for a gateway, which asks: under `key_policy.`, and zero is allowed in each.
void RegisterWantedKeyPolicy(KeyPolicy& policy, ConfigReader& reader);

// A policy that asks for nothing.
KeyPolicy NothingWanted();

// Whether the settings fit together. INVALID_ARGUMENT names two that do not.
absl::Status CheckKeyPolicy(const KeyPolicy& policy);

// The policy that `wanted` asks for under `image`'s. What is not set in it is as in `image`, or
// tighter where it would contradict what is set: a hard TTL below the image's soft TTL takes that
// down with it. INVALID_ARGUMENT names the setting that is looser than the image's or below what is
// possible.
absl::StatusOr<KeyPolicy> TightenKeyPolicy(const KeyPolicy& image, const KeyPolicy& wanted);

using PolicySettings = google::protobuf::RepeatedPtrField<wire::v1::PolicySetting>;
// What is zero is left out.
void EncodeKeyPolicy(const KeyPolicy& policy, PolicySettings& settings);
// INVALID_ARGUMENT for a name that is not known, twice there, or a number beyond 2^53. What is not
// there is zero.
absl::StatusOr<KeyPolicy> DecodeKeyPolicy(const PolicySettings& settings);

}  // namespace bulla
