#include "base/aws_credentials.h"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>

namespace bulla {
namespace {

struct Part {
  std::string_view name;
  std::size_t bytes_min;
  std::size_t bytes_max;
  std::string_view alphabet;  // besides letters and digits
};

// AWS STS API, "Credentials": an access key id has 16 to 128 word characters. Secrets and tokens
// are base64; secrets have 40 characters today, tokens grow ("make no assumptions"), and what KMS
// takes as headers ends at 16 KiB.
constexpr Part kAccessKeyId{"access key id", 16, 128, "_"};
constexpr Part kSecretAccessKey{"secret access key", 16, 128, "+/=-_"};
constexpr Part kSessionToken{"session token", 0, 8192, "+/=-_"};

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

absl::Status Check(const Part& part, const std::string& value) {
  if (value.size() < part.bytes_min || value.size() > part.bytes_max) {
    return absl::InvalidArgumentError(
        fmt::format("credentials: {}: got {} characters, want {} to {}", part.name, value.size(),
                    part.bytes_min, part.bytes_max));
  }
  const auto wrong = std::ranges::find_if(value, [&](char c) {
    return !IsLetterOrDigit(c) && part.alphabet.find(c) == std::string_view::npos;
  });
  if (wrong == value.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "credentials: {}: character {} is not one that AWS uses; want letters, digits and {}",
      part.name, wrong - value.begin() + 1, part.alphabet));
}

}  // namespace

absl::Status CheckAwsCredentials(const AwsCredentials& credentials) {
  BULLA_RETURN_IF_ERROR(Check(kAccessKeyId, credentials.access_key_id));
  BULLA_RETURN_IF_ERROR(Check(kSecretAccessKey, credentials.secret_access_key));
  return Check(kSessionToken, credentials.session_token);
}

}  // namespace bulla
