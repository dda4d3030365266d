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
  sockaddr_storage address{};
  socklen_t address_bytes = 0;
};

// Takes http://HOST:PORT, with an optional slash at the end. INVALID_ARGUMENT for anything else,
// UNAVAILABLE for a name that does not resolve.
absl::StatusOr<Target> ResolveBlocking(std::string_view url);

// A connected socket without Nagle's delay; every blocking call on it takes five seconds at most.
absl::StatusOr<UniqueFd> ConnectBlocking(const Target& target);

// The same without waiting: the socket is not blocking and becomes writable when it is connected.
absl::StatusOr<UniqueFd> StartConnecting(const Target& target);

// From now on no call on `fd` blocks.
absl::Status SetNonBlocking(int fd);

}  // namespace bulla
