#include "cli/endpoints.h"

#include <charconv>
#include <fmt/format.h>
#include <fstream>
#include <optional>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace bulla {
namespace {

constexpr std::size_t kUrlBytesMax = 512;         // a host name has at most 253
constexpr std::size_t kEndpointsBytesMax = 4096;  // four addresses fit many times over
constexpr std::size_t kAddressesMax = 16;
constexpr std::size_t kPidsMax = 64;
constexpr std::uint16_t kHttpPort = 80;
constexpr std::string_view kPidsMember = "pids";

bool IsHostCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '-' || c == '_' || c == ':';
}

std::optional<std::uint16_t> ParsePort(std::string_view text) {
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

absl::Status BadUrl(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no URL of a service: {}", text.substr(0, kUrlBytesMax), why));
}

absl::Status ParsePids(const boost::json::value& value, std::map<std::string, pid_t>& pids) {
  if (!value.is_object()) return absl::OkStatus();
  for (const auto& [name, number] : value.get_object()) {
    boost::json::error_code error;
    pid_t pid = number.to_number<pid_t>(error);
    if (error || pid <= 0) continue;
    if (pids.size() == kPidsMax) {
      return absl::InvalidArgumentError(fmt::format("more than {} processes", kPidsMax));
    }
    pids.emplace(std::string(name), pid);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Endpoints>> ReadEndpoints(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return std::nullopt;
  std::string text(kEndpointsBytesMax + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  absl::StatusOr<Endpoints> endpoints = ParseEndpoints(text);
  if (!endpoints.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", file.string(), std::string(endpoints.status().message())));
  }
  return *std::move(endpoints);
}

absl::StatusOr<FoundEndpoint> Found(std::string_view url, std::string source) {
  absl::StatusOr<Endpoint> endpoint = ParseUrl(url);
  if (!endpoint.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", source, std::string(endpoint.status().message())));
  }
  return FoundEndpoint{*std::move(endpoint), std::move(source)};
}

}  // namespace

std::string Endpoint::ToUrl() const {
  bool bracket = host.find(':') != std::string::npos;
  return bracket ? fmt::format("http://[{}]:{}", host, port)
                 : fmt::format("http://{}:{}", host, port);
}

absl::StatusOr<Endpoint> ParseUrl(std::string_view text) {
  std::string_view rest = text;
  if (rest.size() > kUrlBytesMax) return BadUrl(text, "it is too long");
  if (rest.starts_with("https://")) return BadUrl(text, "only http:// is spoken");
  if (rest.starts_with("http://")) rest.remove_prefix(7);
  if (rest.ends_with('/')) rest.remove_suffix(1);

  Endpoint endpoint{.host = {}, .port = kHttpPort};
  std::string_view port;
  if (rest.starts_with('[')) {
    std::size_t close = rest.find(']');
    if (close == std::string_view::npos) return BadUrl(text, "a bracket is not closed");
    endpoint.host = rest.substr(1, close - 1);
    port = rest.substr(close + 1);
  } else {
    std::size_t colon = rest.find(':');
    endpoint.host = rest.substr(0, colon);
    if (colon != std::string_view::npos) port = rest.substr(colon);
  }
  if (endpoint.host.empty()) return BadUrl(text, "it names no host");
  for (char c : endpoint.host) {
    if (!IsHostCharacter(c)) return BadUrl(text, "wanted http://HOST:PORT");
  }
  if (port.empty()) return endpoint;
  std::optional<std::uint16_t> number =
      port.front() == ':' ? ParsePort(port.substr(1)) : std::nullopt;
  if (!number) return BadUrl(text, "the port must be 1 to 65535");
  endpoint.port = *number;
  return endpoint;
}

absl::StatusOr<Endpoints> ParseEndpoints(std::string_view json) {
  if (json.size() > kEndpointsBytesMax) {
    return absl::InvalidArgumentError(fmt::format("more than {} bytes", kEndpointsBytesMax));
  }
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(json, error);
  if (error || !value.is_object()) return absl::InvalidArgumentError("not a JSON object");
  Endpoints endpoints;
  for (const auto& [name, address] : value.get_object()) {
    if (name == kPidsMember) BULLA_RETURN_IF_ERROR(ParsePids(address, endpoints.pids));
    if (!address.is_string()) continue;
    if (endpoints.addresses.size() == kAddressesMax) {
      return absl::InvalidArgumentError(fmt::format("more than {} addresses", kAddressesMax));
    }
    endpoints.addresses.emplace(std::string(name), std::string(address.get_string()));
  }
  return endpoints;
}

std::string FormatEndpoints(const Endpoints& endpoints) {
  boost::json::object object;
  for (const auto& [name, address] : endpoints.addresses) object[name] = address;
  if (!endpoints.pids.empty()) {
    boost::json::object pids;
    for (const auto& [name, pid] : endpoints.pids) pids[name] = pid;
    object[kPidsMember] = std::move(pids);
  }
  return boost::json::serialize(object) + "\n";
}

absl::StatusOr<FoundEndpoint> FindEndpoint(const EndpointSearch& search) {
  if (!search.option.empty()) return Found(search.option, std::string(search.option_name));
  if (search.variable != nullptr && *search.variable != '\0') {
    return Found(search.variable, fmt::format("${}", search.variable_name));
  }
  std::filesystem::path file = search.data_dir / kEndpointsFile;
  BULLA_ASSIGN_OR_RETURN(std::optional<Endpoints> endpoints, ReadEndpoints(file));
  if (endpoints) {
    auto address = endpoints->addresses.find(std::string(search.listener));
    if (address != endpoints->addresses.end()) return Found(address->second, file.string());
  }
  return Found(search.fallback, "the default");
}

}  // namespace bulla
