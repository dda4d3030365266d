#include "gateway/frontend/proxy_protocol.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace bulla {
namespace {

constexpr std::string_view kV1Begin = "PROXY ";
constexpr std::size_t kV1BytesMax = 107;  // with CR LF, as the document counts
constexpr std::string_view kV2Begin("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kV2FixedBytes = 16;

// Of the byte behind version and command: the family above, the transport below.
constexpr std::uint8_t kUnspecified = 0x00;
constexpr std::uint8_t kTcpOverV4 = 0x11;
constexpr std::uint8_t kTcpOverV6 = 0x21;
constexpr std::uint8_t kUnixStream = 0x31;

constexpr ProxyHeader kMore{};
constexpr ProxyHeader kMalformed{.state = ProxyHeader::State::kMalformed};

ProxyHeader Done(std::size_t bytes, std::optional<IpAddress> source) {
  return {.state = ProxyHeader::State::kDone, .bytes = bytes, .source = source};
}

// Takes the word up to the next space off `text`; the last word has none behind it.
std::string_view TakeWord(std::string_view& text) {
  const std::size_t space = text.find(' ');
  const std::string_view word = text.substr(0, space);
  text.remove_prefix(space == text.npos ? text.size() : space + 1);
  return word;
}

bool IsPort(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text.size() > 1 && text[0] == '0')) return false;
  unsigned port = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + static_cast<unsigned>(c - '0');
  }
  return port <= 65535;
}

// PROXY TCP4 192.0.2.1 192.0.2.2 4711 8080, or TCP6, or UNKNOWN and whatever follows.
ProxyHeader ParseV1(std::string_view bytes) {
  const std::size_t end = bytes.substr(0, kV1BytesMax).find('\n');
  if (end == bytes.npos) return bytes.size() < kV1BytesMax ? kMore : kMalformed;
  if (bytes[end - 1] != '\r') return kMalformed;
  std::string_view line = bytes.substr(kV1Begin.size(), end - 1 - kV1Begin.size());
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return Done(end + 1, std::nullopt);
  const std::string_view family = TakeWord(line);
  const std::string_view source_text = TakeWord(line);
  const std::string_view destination_text = TakeWord(line);
  const std::string_view source_port = TakeWord(line);
  const std::string_view destination_port = line;
  const bool is_v4 = family == "TCP4";
  const auto fits = [is_v4](std::string_view text) {
    return (text.find(':') == text.npos) == is_v4;
  };
  const std::optional<IpAddress> source = ParseIpAddress(source_text);
  const bool right = (is_v4 || family == "TCP6") && source && ParseIpAddress(destination_text) &&
                     fits(source_text) && fits(destination_text) && IsPort(source_port) &&
                     IsPort(destination_port);
  return right ? Done(end + 1, source) : kMalformed;
}

ProxyHeader ParseV2(std::string_view bytes) {
  if (bytes.size() < kV2FixedBytes) return kMore;
  const auto byte = [bytes](std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); };
  constexpr std::uint8_t kLocal = 0x20;
  constexpr std::uint8_t kProxy = 0x21;
  const std::size_t rest = static_cast<std::size_t>(byte(14)) << 8 | byte(15);
  const std::size_t size = kV2FixedBytes + rest;
  if ((byte(12) != kLocal && byte(12) != kProxy) || size > kProxyHeaderBytesMax) return kMalformed;
  if (bytes.size() < size) return kMore;
  if (byte(12) == kLocal) return Done(size, std::nullopt);
  const std::string_view addresses = bytes.substr(kV2FixedBytes, rest);
  switch (byte(13)) {
    case kTcpOverV4: {
      if (rest < 12) return kMalformed;  // two addresses and two ports
      std::array<std::uint8_t, 4> source{};
      std::copy_n(addresses.begin(), source.size(), source.begin());
      return Done(size, MappedV4(source));
    }
    case kTcpOverV6: {
      if (rest < 36) return kMalformed;
      IpAddress source{};
      std::copy_n(addresses.begin(), source.size(), source.begin());
      return Done(size, source);
    }
    case kUnspecified:
    case kUnixStream:
      return Done(size, std::nullopt);
    default:  // datagrams, which are not how these bytes came, and what is not defined
      return kMalformed;
  }
}

}  // namespace

ProxyHeader ParseProxyHeader(std::string_view bytes) {
  if (bytes.starts_with(kV1Begin)) return ParseV1(bytes);
  if (bytes.starts_with(kV2Begin)) return ParseV2(bytes);
  const bool may_become = kV1Begin.starts_with(bytes) || kV2Begin.starts_with(bytes);
  return may_become ? kMore : kMalformed;
}

}  // namespace bulla
