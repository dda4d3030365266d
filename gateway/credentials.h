#pragma once

// The AWS credentials that the parent passes to its enclaves for their calls to KMS. Read again for
// every unlock, so that rotated ones are taken up without a restart.

#include <string>

#include "base/status.h"

namespace bulla {

struct ParentCredentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty: none
};

// Reads a JSON file {"accessKeyId", "secretAccessKey"[, "sessionToken"]}. Errors name the file.
absl::StatusOr<ParentCredentials> ReadCredentials(const std::string& path);

}  // namespace bulla
