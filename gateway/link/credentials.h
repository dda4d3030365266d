#pragma once

// The AWS credentials that the parent passes to its enclaves for their calls to KMS. Read again for
// every unlock, so that rotated ones are taken up without a restart.

#include <string>

#include "base/aws_credentials.h"
#include "base/status.h"

namespace bulla {

// Reads a JSON file {"accessKeyId", "secretAccessKey"[, "sessionToken"]}. Errors name the file and
// the part that AWS would not have issued, never its value.
absl::StatusOr<AwsCredentials> ReadCredentials(const std::string& path);

}  // namespace bulla
