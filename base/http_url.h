#pragma once

// The URL of a service, as people type it for curl: with or without http://, with or without a
// port, with or without a slash at the end, with a path in front of the service's own where a proxy
// has one.

#include <string>
#include <string_view>

#include "base/host_port.h"
#include "base/status.h"

namespace bulla {

struct HttpUrl {
  HostPort at = {};       // port 80 where none is written
  std::string path = {};  // goes before the path of each call: empty, or "/signer"
  // Path of a Unix socket in place of `at`, for what is spoken on one machine alone. Not of a text.
  std::string socket = {};

  std::string ToString() const;  // http://HOST:PORT/PATH, or unix:SOCKET
  friend bool operator==(const HttpUrl&, const HttpUrl&) = default;
};

// INVALID_ARGUMENT says what is wrong with anything else, and that https is not spoken yet.
absl::StatusOr<HttpUrl> ParseHttpUrl(std::string_view text);

}  // namespace bulla
