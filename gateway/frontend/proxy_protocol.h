#pragma once

// The PROXY protocol, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt): what a
// proxy that passes bytes on sends first on a connection, to say whom it is for. Read strictly: a
// connection whose first bytes are something else is not from a proxy. Pure.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "gateway/call/ip_address.h"

namespace bulla {

// Version 1 has 107 at most. Version 2 may have what load balancers add behind the addresses, some
// hundred bytes: a certificate's name, the identifier of an endpoint.
inline constexpr std::size_t kProxyHeaderBytesMax = 2048;

struct ProxyHeader {
  enum class State : std::uint8_t { kMore, kDone, kMalformed };

  State state = State::kMore;
  std::size_t bytes = 0;  // its length, when kDone
  // Nothing: the proxy speaks for itself (a health check), or does not know.
  std::optional<IpAddress> source;
};

// What the first bytes of a connection are: a whole header, the beginning of one, or none.
ProxyHeader ParseProxyHeader(std::string_view bytes);

}  // namespace bulla
