// Any bytes as a request to change the key policy: what is taken lies within the image's own limits
// and travels unchanged; the rest is refused.

#include <cstdlib>

#include "base/bytes.h"
#include "wire/enclave.pb.h"
#include "wire/key_policy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bulla::wire::v1::ConfigureRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  absl::StatusOr<bulla::KeyPolicy> wanted = bulla::DecodeKeyPolicy(request.settings());
  if (!wanted.ok()) return 0;
  const bulla::KeyPolicy image;
  absl::StatusOr<bulla::KeyPolicy> policy = bulla::TightenKeyPolicy(image, *wanted);
  if (!policy.ok()) return 0;
  if (policy->plain_key_ttl_hard > image.plain_key_ttl_hard ||
      policy->plain_key_uses_max > image.plain_key_uses_max ||
      policy->dek_ttl_hard > image.dek_ttl_hard || !bulla::CheckKeyPolicy(*policy).ok()) {
    std::abort();
  }
  bulla::PolicySettings settings;
  bulla::EncodeKeyPolicy(*policy, settings);
  absl::StatusOr<bulla::KeyPolicy> again = bulla::DecodeKeyPolicy(settings);
  if (!again.ok() || *again != *policy) std::abort();
  return 0;
}
