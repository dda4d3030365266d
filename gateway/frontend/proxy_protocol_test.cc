#include "gateway/frontend/proxy_protocol.h"

#include <gtest/gtest.h>
#include <string>

namespace bulla {
namespace {

using State = ProxyHeader::State;

std::string V2(std::uint8_t command, std::uint8_t family, const std::string& rest) {
  std::string header("\r\n\r\n\0\r\nQUIT\n", 12);
  header += static_cast<char>(command);
  header += static_cast<char>(family);
  header += static_cast<char>(rest.size() >> 8);
  header += static_cast<char>(rest.size() & 0xff);
  return header + rest;
}

const std::string kV4Rest("\xc0\x00\x02\x01\x7f\x00\x00\x01\x12\x67\x1f\x90", 12);
const std::string kV6Rest = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\x07" +
                            std::string(15, '\0') + "\x01" + "\x12\x67\x1f\x90";

void ExpectDone(const std::string& header, std::optional<IpAddress> source) {
  // With what follows, and for each part of it that may have arrived alone.
  const ProxyHeader whole = ParseProxyHeader(header + "GET / HTTP/1.1\r\n");
  EXPECT_EQ(whole.state, State::kDone) << header;
  EXPECT_EQ(whole.bytes, header.size()) << header;
  EXPECT_EQ(whole.source, source) << header;
  for (std::size_t size = 0; size < header.size(); ++size) {
    EXPECT_EQ(ParseProxyHeader(header.substr(0, size)).state, State::kMore) << header << size;
  }
}

TEST(ProxyProtocol, Version1NamesTheSource) {
  ExpectDone("PROXY TCP4 192.0.2.1 127.0.0.1 4711 8080\r\n", ParseIpAddress("192.0.2.1"));
  ExpectDone("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", ParseIpAddress("2001:db8::7"));
  ExpectDone("PROXY UNKNOWN\r\n", std::nullopt);
  const std::string longest =
      "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535" + std::string(48, ' ') + "\r\n";
  ASSERT_EQ(longest.size(), 107u);
  ExpectDone(longest, std::nullopt);
}

TEST(ProxyProtocol, Version2NamesTheSource) {
  ExpectDone(V2(0x21, 0x11, kV4Rest), ParseIpAddress("192.0.2.1"));
  ExpectDone(V2(0x21, 0x21, kV6Rest), ParseIpAddress("2001:db8::7"));
  ExpectDone(V2(0x21, 0x11, kV4Rest + std::string("\x04\x00\x01\x00", 4)),  // a TLV behind it
             ParseIpAddress("192.0.2.1"));
  ExpectDone(V2(0x20, 0x11, kV4Rest), std::nullopt);  // LOCAL: whatever the addresses are
  ExpectDone(V2(0x20, 0x00, ""), std::nullopt);
  ExpectDone(V2(0x21, 0x00, "anything"), std::nullopt);
  ExpectDone(V2(0x21, 0x31, std::string(216, 'u')), std::nullopt);
  ExpectDone(V2(0x21, 0x00, std::string(kProxyHeaderBytesMax - 16, 't')), std::nullopt);
}

TEST(ProxyProtocol, AnythingElseIsMalformed) {
  for (const std::string& wrong : {
           std::string("GET / HTTP/1.1\r\n"),
           std::string("proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n"),
           std::string("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1\r\n"),
           std::string("PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n"),
           std::string("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n"),
           std::string("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
           std::string("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n"),
           std::string("PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n"),
           std::string("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n"),
           std::string("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"),
           std::string("PROXY TCP4 ::1 ::1 1 1\r\n"),
           std::string("PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n"),
           std::string("PROXY TCP6 ::1%lo ::1 1 1\r\n"),
           std::string("PROXY UNKNOWNS\r\n"),
           std::string("PROXY \r\n"),
           "PROXY UNKNOWN " + std::string(93, 'x'),
           V2(0x11, 0x11, kV4Rest),  // of a version that is none
           V2(0x22, 0x11, kV4Rest),
           V2(0x21, 0x12, kV4Rest),  // UDP
           V2(0x21, 0x41, kV4Rest),
           V2(0x21, 0x11, kV4Rest.substr(1)),
           V2(0x21, 0x21, kV6Rest.substr(1)),
           V2(0x21, 0x00, std::string(kProxyHeaderBytesMax - 15, 't')),
           std::string("\r\n\r\n\0\r\nQUIT ", 12),
       }) {
    EXPECT_EQ(ParseProxyHeader(wrong).state, State::kMalformed) << wrong;
  }
}

}  // namespace
}  // namespace bulla
