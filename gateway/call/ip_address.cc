#include "gateway/call/ip_address.h"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <fmt/format.h>
#include <utility>

namespace bulla {
namespace {

constexpr std::size_t kAddressCharsMax = 45;  // ::ffff: and a dotted quad, of the longest spelling
constexpr unsigned kMappedBits = 96;

bool ParseDigits(std::string_view text, unsigned max, unsigned& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out <= max;
}

bool IsPort(std::string_view text) {
  unsigned port = 0;
  return ParseDigits(text, 65535, port);
}

// Whether the first `bits` of both are the same.
bool SamePrefix(const IpAddress& a, const IpAddress& b, unsigned bits) {
  const std::size_t whole = bits / 8;
  if (!std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(whole), b.begin())) {
    return false;
  }
  if (bits % 8 == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff << (8 - bits % 8));
  return ((a[whole] ^ b[whole]) & mask) == 0;
}

}  // namespace

IpAddress MappedV4(const std::array<std::uint8_t, 4>& address) {
  IpAddress mapped{};
  mapped[10] = mapped[11] = 0xff;
  std::copy(address.begin(), address.end(), mapped.begin() + 12);
  return mapped;
}

bool IsMappedV4(const IpAddress& address) {
  static const IpAddress kAnyV4 = MappedV4({});
  return SamePrefix(address, kAnyV4, kMappedBits);
}

std::optional<IpAddress> ParseIpAddress(std::string_view text) {
  if (text.size() > kAddressCharsMax) return std::nullopt;
  char terminated[kAddressCharsMax + 1] = {};
  text.copy(terminated, text.size());
  std::array<std::uint8_t, 4> v4{};
  if (::inet_pton(AF_INET, terminated, v4.data()) == 1) return MappedV4(v4);
  IpAddress v6{};
  if (::inet_pton(AF_INET6, terminated, v6.data()) == 1) return v6;
  return std::nullopt;
}

std::optional<IpAddress> ParseIpAddressAndPort(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && (rest[0] != ':' || !IsPort(rest.substr(1)))) return std::nullopt;
    const std::string_view inside = text.substr(1, close - 1);
    return inside.find(':') == std::string_view::npos ? std::nullopt : ParseIpAddress(inside);
  }
  const std::size_t colon = text.find(':');
  const bool has_port = colon != std::string_view::npos && text.find(':', colon + 1) == text.npos;
  if (!has_port) return ParseIpAddress(text);
  return IsPort(text.substr(colon + 1)) ? ParseIpAddress(text.substr(0, colon)) : std::nullopt;
}

absl::StatusOr<IpNetworks> IpNetworks::Parse(const std::vector<std::string>& networks) {
  IpNetworks parsed;
  for (std::string_view text : networks) {
    const std::size_t slash = text.find('/');
    const std::string_view host = text.substr(0, slash);
    const std::optional<IpAddress> address = ParseIpAddress(host);
    const bool is_v4 = host.find(':') == std::string_view::npos;
    const unsigned bits_max = is_v4 ? 32 : 128;
    unsigned bits = bits_max;
    if (!address || (slash != text.npos && !ParseDigits(text.substr(slash + 1), bits_max, bits))) {
      return absl::InvalidArgumentError(fmt::format(
          "got \"{}\", want a network such as 10.0.0.0/8 or 2001:db8::/32, or an address", text));
    }
    if (is_v4) bits += kMappedBits;
    IpAddress first = *address;
    for (unsigned bit = bits; bit < 128; ++bit) {
      first[bit / 8] &= static_cast<std::uint8_t>(~(0x80 >> bit % 8));
    }
    if (first != *address) {
      return absl::InvalidArgumentError(
          fmt::format("got \"{}\", whose address has bits behind the prefix; want the network's "
                      "first address, or a longer prefix",
                      text));
    }
    parsed.networks_.push_back({*address, bits});
  }
  return parsed;
}

bool IpNetworks::Has(const IpAddress& address) const {
  return std::ranges::any_of(networks_, [&](const Network& network) {
    return SamePrefix(address, network.address, network.prefix_bits);
  });
}

}  // namespace bulla
