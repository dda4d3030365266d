#include "base/http_url.h"

#include <algorithm>
#include <fmt/format.h>

namespace bulla {
namespace {

constexpr std::size_t kUrlBytesMax = 512;  // a host name has at most 253
constexpr std::uint16_t kHttpPort = 80;

absl::Status Refused(std::string_view text, std::string_view why) {
  std::string shown(text.substr(0, kUrlBytesMax));
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is no URL of a service, such as http://127.0.0.1:8080: {}", shown, why));
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// HOST, HOST: or HOST:PORT.
absl::StatusOr<HostPort> ParseAuthority(std::string_view authority) {
  if (authority.ends_with(':')) authority.remove_suffix(1);
  if (authority.ends_with(']') || authority.find(':') == std::string_view::npos) {
    return ParseTarget(fmt::format("{}:{}", authority, kHttpPort));
  }
  return ParseTarget(authority);
}

}  // namespace

std::string HttpUrl::ToString() const {
  if (!socket.empty()) return "unix:" + socket;
  return fmt::format("http://{}{}", at.ToString(), path);
}

absl::StatusOr<HttpUrl> ParseHttpUrl(std::string_view text) {
  if (text.size() > kUrlBytesMax) return Refused(text, "it is too long");
  std::string_view rest = text;
  if (const std::size_t scheme_end = rest.find("://"); scheme_end != rest.npos) {
    const std::string scheme = LowerCase(rest.substr(0, scheme_end));
    if (scheme == "https") return Refused(text, "TLS is not spoken yet, only http://");
    if (scheme != "http") return Refused(text, "only http:// is spoken");
    rest.remove_prefix(scheme_end + 3);
  }
  const std::size_t path_begin = std::min(rest.find('/'), rest.size());
  std::string_view path = rest.substr(path_begin);
  const std::string_view authority = rest.substr(0, path_begin);
  if (authority.empty()) return Refused(text, "it names no host");
  if (authority.find('@') != authority.npos) return Refused(text, "credentials have no place here");
  if (rest.find_first_of("?#") != rest.npos) return Refused(text, "a query has no place here");
  for (char c : path) {
    if (c <= 0x20 || c >= 0x7f) return Refused(text, "the path has other than visible ASCII");
  }
  while (path.ends_with('/')) path.remove_suffix(1);
  absl::StatusOr<HostPort> at = ParseAuthority(authority);
  if (!at.ok()) return at.status();
  return HttpUrl{*std::move(at), std::string(path)};
}

}  // namespace bulla
