#include "gateway/frontend/host_rules.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "gateway/call/refusal.h"
#include "gateway/frontend/http_authority.h"
#include "gateway/frontend/http_text.h"

namespace bulla {
namespace {

constexpr std::string_view kLocalhost = "localhost";  // RFC 6761, 6.3: never looked up elsewhere
constexpr std::string_view kBelowLocalhost = ".localhost";
constexpr std::string_view kAnyBelow = "*.";

std::string_view WithoutLastDot(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  return host;
}

// Whether `host` is a name below the one that `suffix` begins with a dot.
bool IsBelow(std::string_view host, std::string_view suffix) {
  return host.size() > suffix.size() &&
         EqualsIgnoringCase(host.substr(host.size() - suffix.size()), suffix);
}

}  // namespace

absl::StatusOr<HostRules> HostRules::Parse(const std::vector<std::string>& allowed) {
  HostRules rules;
  for (std::string name : allowed) {
    std::transform(name.begin(), name.end(), name.begin(), AsciiLower);
    std::string_view host = name;
    const bool any_below = host.starts_with(kAnyBelow);
    if (any_below) host.remove_prefix(kAnyBelow.size());
    host = WithoutLastDot(host);
    const std::optional<HttpAuthority> authority = ParseHttpAuthority(host);
    if (!authority || host.empty() || authority->host.size() != host.size() ||
        host.find_first_of("*%") != host.npos || host.starts_with('.')) {
      return absl::InvalidArgumentError(
          fmt::format("got \"{}\", want a name without scheme and port, such as sign.example.com, "
                      "or *.example.com for all names below it",
                      name));
    }
    if (any_below) {
      rules.suffixes_.push_back(fmt::format(".{}", host));
    } else {
      rules.names_.emplace_back(host);
    }
  }
  return rules;
}

bool HostRules::Allow(std::string_view text) const {
  const std::optional<HttpAuthority> authority = ParseHttpAuthority(text);
  if (!authority) return false;
  if (authority->is_address()) return true;
  const std::string_view host = WithoutLastDot(authority->host);
  return EqualsIgnoringCase(host, kLocalhost) || IsBelow(host, kBelowLocalhost) ||
         std::any_of(names_.begin(), names_.end(),
                     [&](const std::string& name) { return EqualsIgnoringCase(host, name); }) ||
         std::any_of(suffixes_.begin(), suffixes_.end(),
                     [&](const std::string& suffix) { return IsBelow(host, suffix); });
}

std::string HostRefused(std::string_view name, std::string_view authority) {
  return fmt::format(
      "{}: got {}, want an address, localhost, or a name in the gateway's setting allowed_hosts",
      name, authority.empty() ? "nothing" : Quoted(authority));
}

}  // namespace bulla
