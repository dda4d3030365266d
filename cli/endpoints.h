#pragma once

// Where a running Bulla is: URLs given by hand, by the environment, or left in endpoints.json by
// `bulla dev`. All of it comes from outside, so all of it is parsed with limits.

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <sys/types.h>

#include "base/http_url.h"
#include "base/status.h"

namespace bulla {

// The content of endpoints.json: names of listeners ("http", "grpc", "admin", "kms") and their
// addresses as HOST:PORT, the path of the Unix socket "adminSocket", and in "pids" the processes
// ("gateway", "kms", "enclave-1"), for those who measure them. Other members are ignored, so that
// an older client reads a newer file.
struct Endpoints {
  std::map<std::string, std::string> addresses;
  std::map<std::string, pid_t> pids;

  friend bool operator==(const Endpoints&, const Endpoints&) = default;
};
absl::StatusOr<Endpoints> ParseEndpoints(std::string_view json);
std::string FormatEndpoints(const Endpoints& endpoints);

inline constexpr std::string_view kEndpointsFile = "endpoints.json";

// An endpoint, and how it was found, for the message when nobody answers there.
struct FoundEndpoint {
  HttpUrl url;
  std::string source;  // "--url", "$BULLA_URL", "bulla-data/endpoints.json", "the default"
};

// What to look at, in this order: an option, an environment variable, endpoints.json, a default.
struct EndpointSearch {
  std::string_view listener;     // the member of endpoints.json: "http", "admin" or "adminSocket"
  std::string_view option_name;  // for messages: "--url"
  std::string option;            // empty: not given
  std::string_view variable_name;
  const char* variable = nullptr;  // its value; null or empty: not set
  std::filesystem::path data_dir;
  std::string_view fallback;  // HOST:PORT
  bool is_socket = false;     // all of these are paths of a Unix socket
};
absl::StatusOr<FoundEndpoint> FindEndpoint(const EndpointSearch& search);

}  // namespace bulla
