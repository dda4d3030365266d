#pragma once

// AWS credentials, and what they may be made of. They travel from a file through the gateway into
// header fields of the enclave's requests to KMS, so a line break in one would be a request of its
// author's: both ends hold them to AWS's alphabet and length.

#include <string>

#include "base/status.h"

namespace bulla {

// Short-lived credentials. The parent hands them to the enclave, so they are no secret from it;
// they say who asks, the attestation document says what runs.
struct AwsCredentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty: none
};

// INVALID_ARGUMENT names the part that AWS would not have issued, and never its value.
absl::Status CheckAwsCredentials(const AwsCredentials& credentials);

}  // namespace bulla
