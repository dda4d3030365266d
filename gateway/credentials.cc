#include "gateway/credentials.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "base/file.h"

namespace bulla {
namespace {

constexpr std::size_t kFileBytesMax = 64 * 1024;

std::string TextMember(const boost::json::object& object, const char* name) {
  const boost::json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

absl::StatusOr<ParentCredentials> ReadCredentials(const std::string& path) {
  BULLA_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path, kFileBytesMax));
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(text, error);
  if (error || !value.is_object()) {
    return absl::InvalidArgumentError(fmt::format("credentials: {} is not a JSON object", path));
  }
  ParentCredentials credentials{TextMember(value.get_object(), "accessKeyId"),
                                TextMember(value.get_object(), "secretAccessKey"),
                                TextMember(value.get_object(), "sessionToken")};
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("credentials: {} lacks accessKeyId or secretAccessKey", path));
  }
  return credentials;
}

}  // namespace bulla
