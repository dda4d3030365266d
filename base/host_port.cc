#include "base/host_port.h"

#include <arpa/inet.h>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>

#include <netdb.h>

#include "base/check.h"

namespace bulla {
namespace {

constexpr std::size_t kHostBytesMax = 253;  // a name's, RFC 1035; addresses are shorter
constexpr std::size_t kShownMax = 120;

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Fit for one line of a message.
std::string Shown(std::string_view text) {
  std::string shown(text.substr(0, kShownMax));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return shown;
}

absl::Status Refused(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(fmt::format(
      "got \"{}\", want HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080: {}", Shown(text), why));
}

bool IsV4(std::string_view host) {
  in_addr address{};
  return ::inet_pton(AF_INET, std::string(host).c_str(), &address) == 1;
}

// With or without a zone: "fe80::1%eth0".
bool IsV6(std::string_view host) {
  const std::size_t percent = host.find('%');
  in6_addr address{};
  if (::inet_pton(AF_INET6, std::string(host.substr(0, percent)).c_str(), &address) != 1) {
    return false;
  }
  if (percent == std::string_view::npos) return true;
  const std::string_view zone = host.substr(percent + 1);
  for (char c : zone) {
    if (!IsAlphanumeric(c) && c != '.' && c != '-' && c != '_') return false;
  }
  return !zone.empty() && zone.size() < IF_NAMESIZE;
}

// "127.1" and "2130706433" are addresses to some programs, and names to others: they are neither.
bool IsName(std::string_view host) {
  if (host.empty() || host.size() > kHostBytesMax || !IsAlphanumeric(host.front())) return false;
  bool letters = false;
  for (char c : host) {
    if (!IsAlphanumeric(c) && c != '.' && c != '-' && c != '_') return false;
    letters = letters || !((c >= '0' && c <= '9') || c == '.');
  }
  return letters;
}

// Requires: `host` is an IPv6 address.
SocketAddress V6Address(std::string_view host, std::uint16_t port) {
  SocketAddress address;
  auto* in = reinterpret_cast<sockaddr_in6*>(&address.storage);
  const std::size_t percent = host.find('%');
  in->sin6_family = AF_INET6;
  in->sin6_port = htons(port);
  ::inet_pton(AF_INET6, std::string(host.substr(0, percent)).c_str(), &in->sin6_addr);
  if (percent != std::string_view::npos) {
    in->sin6_scope_id = ::if_nametoindex(std::string(host.substr(percent + 1)).c_str());
  }
  address.size = sizeof(sockaddr_in6);
  return address;
}

}  // namespace

std::string HostPort::ToString() const {
  const bool bracket = host.find(':') != std::string::npos;
  return bracket ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

bool IsHost(std::string_view host) { return IsV4(host) || IsV6(host) || IsName(host); }

absl::StatusOr<HostPort> ParseHostPort(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return Refused(text, "there is a zero byte in it");
  if (text.find("://") != std::string_view::npos) return Refused(text, "that is a URL");
  const std::size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (colon == std::string_view::npos || text.ends_with(']')) {
    return Refused(text, "the port is missing");
  }
  if (host.empty()) {
    return Refused(text, fmt::format("the host is missing; 127.0.0.1{0} is this machine alone, "
                                     "0.0.0.0{0} every IPv4 address, [::]{0} every address",
                                     Shown(text)));
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (!IsV6(host)) return Refused(text, "what is in brackets is no IPv6 address");
  } else if (host.find(':') != std::string_view::npos) {
    return Refused(text, "an IPv6 address stands in brackets");
  } else if (!IsV4(host) && !IsName(host)) {
    return Refused(text, "the host is no name and no IPv4 address");
  }
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Refused(text, "a port is a number from 0 to 65535");
  }
  return HostPort{std::string(host), port};
}

absl::StatusOr<HostPort> ParseTarget(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(HostPort target, ParseHostPort(text));
  if (target.port == 0) return Refused(text, "nobody listens on port 0");
  return target;
}

bool SocketAddress::is_loopback() const {
  if (family() == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&storage);
    return ntohl(in->sin_addr.s_addr) >> 24 == 127;
  }
  const auto* in = reinterpret_cast<const sockaddr_in6*>(&storage);
  return family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
}

std::string SocketAddress::ToString() const {
  char host[INET6_ADDRSTRLEN + IF_NAMESIZE] = {};
  char port[8] = {};
  const int error = ::getnameinfo(data(), size, host, sizeof host, port, sizeof port,
                                  NI_NUMERICHOST | NI_NUMERICSERV);
  BULLA_CHECK(error == 0, "an address of TCP has a text");
  return family() == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                              : fmt::format("{}:{}", host, port);
}

absl::StatusOr<SocketAddress> ParseListenAddress(std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(HostPort listen, ParseHostPort(text));
  if (listen.host == "localhost") listen.host = "127.0.0.1";
  if (IsV6(listen.host)) return V6Address(listen.host, listen.port);
  SocketAddress address;
  auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (::inet_pton(AF_INET, listen.host.c_str(), &in->sin_addr) != 1) {
    return Refused(text, "to listen takes an address, or localhost");
  }
  in->sin_family = AF_INET;
  in->sin_port = htons(listen.port);
  address.size = sizeof(sockaddr_in);
  return address;
}

}  // namespace bulla
