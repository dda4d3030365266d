#pragma once

// HOST:PORT, as it stands in settings, options and URLs, with one meaning for every listener and
// every target:
//
//   127.0.0.1:8080    an IPv4 address; to listen, 0.0.0.0 is every IPv4 address of the machine
//   [::1]:8080        an IPv6 address; to listen, [::] is every address, of IPv6 and of IPv4
//   localhost:8080    to listen, 127.0.0.1 alone; to connect, what the resolver says
//   kms.internal:443  any other name: to connect only
//
// The host is always written: ":8080" and "8080" are refused. Elsewhere they open a port to
// everybody, and that is nothing to do by leaving something out. Port 0 is for listeners: the
// kernel picks a free one.

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>

#include "base/status.h"

namespace bulla {

struct HostPort {
  std::string host;  // a name or an address; IPv6 without its brackets
  std::uint16_t port = 0;

  std::string ToString() const;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// INVALID_ARGUMENT, naming what arrived and what is wanted, for anything else.
absl::StatusOr<HostPort> ParseHostPort(std::string_view text);

// The same, of somewhere to connect to: with a port from 1 on.
absl::StatusOr<HostPort> ParseTarget(std::string_view text);

// The host alone, without its brackets: an address, or what may be a name.
bool IsHost(std::string_view host);

// An address that the socket calls take.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  bool is_loopback() const;
  // HOST:PORT, the same for every way of writing one address.
  std::string ToString() const;
};

// What to listen on. INVALID_ARGUMENT for a name other than localhost: no name service is asked.
absl::StatusOr<SocketAddress> ParseListenAddress(std::string_view text);

}  // namespace bulla
