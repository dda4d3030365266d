#include "gateway/link/credentials.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "base/file.h"

namespace bulla {
namespace {

constexpr std::size_t kFileBytesMax = 64 * 1024;

// Empty where it is missing.
absl::StatusOr<std::string> TextMember(const boost::json::object& object, const char* name) {
  const boost::json::value* value = object.if_contains(name);
  if (value == nullptr) return std::string();
  if (value->is_string()) return std::string(value->get_string());
  return absl::InvalidArgumentError(fmt::format("credentials: {} is not a string", name));
}

absl::StatusOr<AwsCredentials> Decode(const boost::json::object& object) {
  AwsCredentials credentials;
  BULLA_ASSIGN_OR_RETURN(credentials.access_key_id, TextMember(object, "accessKeyId"));
  BULLA_ASSIGN_OR_RETURN(credentials.secret_access_key, TextMember(object, "secretAccessKey"));
  BULLA_ASSIGN_OR_RETURN(credentials.session_token, TextMember(object, "sessionToken"));
  BULLA_RETURN_IF_ERROR(CheckAwsCredentials(credentials));
  return credentials;
}

}  // namespace

absl::StatusOr<AwsCredentials> ReadCredentials(const std::string& path) {
  BULLA_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path, kFileBytesMax));
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(text, error);
  if (error || !value.is_object()) {
    return absl::InvalidArgumentError(fmt::format("credentials: {} is not a JSON object", path));
  }
  absl::StatusOr<AwsCredentials> credentials = Decode(value.get_object());
  if (credentials.ok()) return credentials;
  return absl::InvalidArgumentError(
      fmt::format("{}: {}", path, std::string(credentials.status().message())));
}

}  // namespace bulla
