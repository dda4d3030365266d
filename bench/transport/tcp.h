#pragma once

// Where the service under load is, and connections to it.

#include <cstdint>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/status.h"

namespace bulla {

// An HTTP listener, looked up once, so that no name is resolved while something is measured.
struct Target {
  std::string host_field;  // HOST:PORT, as the Host field of a request has it
  std::string path;        // in front of that of each HTTP request; mostly empty
  sockaddr_storage address{};
  socklen_t address_bytes = 0;
};

// Takes what base/http_url.h does. Of a name's addresses the first that answers, else the last.
// INVALID_ARGUMENT for what is no URL, UNAVAILABLE for a name that does not resolve.
absl::StatusOr<Target> ResolveBlocking(std::string_view text);

// A connected socket without Nagle's delay; every blocking call on it takes five seconds at most.
absl::StatusOr<UniqueFd> ConnectBlocking(const Target& target);

// The same without waiting: the socket is not blocking and becomes writable when it is connected.
absl::StatusOr<UniqueFd> StartConnecting(const Target& target);

// From now on no call on `fd` blocks.
absl::Status SetNonBlocking(int fd);

}  // namespace bulla
