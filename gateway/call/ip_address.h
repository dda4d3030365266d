#pragma once

// IP addresses of both kinds as one type, and sets of networks.

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <vector>

#include "base/status.h"

namespace bulla {

// Of IPv6, 16 bytes in network order; an IPv4 address is ::ffff:a.b.c.d.
using IpAddress = std::array<std::uint8_t, 16>;

IpAddress MappedV4(const std::array<std::uint8_t, 4>& address);
bool IsMappedV4(const IpAddress& address);

// "192.0.2.1" or "2001:db8::1", without brackets, port or zone.
std::optional<IpAddress> ParseIpAddress(std::string_view text);
// "192.0.2.1", "192.0.2.1:4711", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711".
std::optional<IpAddress> ParseIpAddressAndPort(std::string_view text);

// A set of networks. Immutable.
class IpNetworks {
 public:
  IpNetworks() = default;
  // Each "10.0.0.0/8", "2001:db8::/32", or an address alone. INVALID_ARGUMENT for anything else,
  // and for a network whose address has bits behind its prefix: one of the two is a mistake.
  static absl::StatusOr<IpNetworks> Parse(const std::vector<std::string>& networks);

  bool Has(const IpAddress& address) const;
  bool empty() const { return networks_.empty(); }

 private:
  struct Network {
    IpAddress address;
    unsigned prefix_bits;  // of the 128
  };
  std::vector<Network> networks_;
};

}  // namespace bulla
