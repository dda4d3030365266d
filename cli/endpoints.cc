#include "cli/endpoints.h"

#include <fmt/format.h>
#include <optional>
#include <sys/un.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/file.h"

namespace bulla {
namespace {

constexpr std::size_t kEndpointsBytesMax = 4096;  // four addresses fit many times over
constexpr std::size_t kAddressesMax = 16;
constexpr std::size_t kPidsMax = 64;
constexpr std::string_view kPidsMember = "pids";

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
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return std::nullopt;
  BULLA_ASSIGN_OR_RETURN(std::string text, ReadTextFile(file.string(), kEndpointsBytesMax));
  absl::StatusOr<Endpoints> endpoints = ParseEndpoints(text);
  if (!endpoints.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", file.string(), std::string(endpoints.status().message())));
  }
  return *std::move(endpoints);
}

absl::StatusOr<HttpUrl> ParseSocket(std::string_view path) {
  constexpr std::size_t kPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;
  constexpr std::size_t kShownMax = 512;
  if (!path.empty() && path.size() <= kPathBytesMax) return HttpUrl{.socket = std::string(path)};
  return absl::InvalidArgumentError(
      fmt::format("the path of a Unix socket has 1 to {} bytes, this has {}: '{}'; a relative path "
                  "may be shorter",
                  kPathBytesMax, path.size(), path.substr(0, kShownMax)));
}

absl::StatusOr<FoundEndpoint> Found(const EndpointSearch& search, std::string_view text,
                                    std::string source) {
  absl::StatusOr<HttpUrl> url = search.is_socket ? ParseSocket(text) : ParseHttpUrl(text);
  if (!url.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", source, std::string(url.status().message())));
  }
  return FoundEndpoint{*std::move(url), std::move(source)};
}

}  // namespace

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
  if (!search.option.empty()) return Found(search, search.option, std::string(search.option_name));
  if (search.variable != nullptr && *search.variable != '\0') {
    return Found(search, search.variable, fmt::format("${}", search.variable_name));
  }
  std::filesystem::path file = search.data_dir / kEndpointsFile;
  BULLA_ASSIGN_OR_RETURN(std::optional<Endpoints> endpoints, ReadEndpoints(file));
  if (endpoints) {
    auto address = endpoints->addresses.find(std::string(search.listener));
    if (address != endpoints->addresses.end()) return Found(search, address->second, file.string());
  }
  return Found(search, search.fallback, "the default");
}

}  // namespace bulla
