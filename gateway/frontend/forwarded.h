#pragma once

// Who a request is from, as the proxies in front of the gateway say in a header field. Each proxy
// adds at the right end whom it got the request from, behind what was there, which the caller may
// have made up. So it is read from the right, beginning with the peer of the connection: as long as
// an address is that of a trusted proxy, the one before it is believed. The first that is none is
// the client. Pure.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "gateway/call/ip_address.h"

namespace bulla {

// The field that the proxies write. One, and said beforehand: one that they pass on unread is the
// caller's own.
enum class ForwardedField : std::uint8_t {
  kNone,
  kForwarded,      // RFC 7239
  kXForwardedFor,  // addresses, separated by commas
};
inline constexpr std::string_view kForwardedFieldNames[] = {"none", "forwarded", "x-forwarded-for"};
std::optional<ForwardedField> ParseForwardedField(std::string_view name);

// More proxies in a row than anybody has; what is left of them is not looked at.
inline constexpr std::size_t kForwardedHopsMax = 16;
// Sixteen of the longest elements with all their parameters.
inline constexpr std::size_t kForwardedBytesMax = 4096;

struct ForwardedRules {
  ForwardedField field = ForwardedField::kNone;
  IpNetworks proxies;

  // Whether what is in the field counts, on a connection from `peer`.
  bool Apply(const IpAddress& peer) const {
    return field != ForwardedField::kNone && proxies.Has(peer);
  }
};

// The client of a request on a connection from `peer`, which is a trusted proxy. `value` is the
// field's, its lines in order and joined with commas. What is not understood (`unknown`, a name, a
// value over the limit or, of Forwarded, wrong anywhere) ends the chain: the client is the last
// address that was believed, at least `peer`.
IpAddress ClientBehind(const IpAddress& peer, std::string_view value, const ForwardedRules& rules);

}  // namespace bulla
