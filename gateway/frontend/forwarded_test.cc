#include "gateway/frontend/forwarded.h"

#include <gtest/gtest.h>
#include <string>

namespace bulla {
namespace {

constexpr std::string_view kPeer = "10.0.0.1";

// The client behind kPeer, with 10.0.0.0/8 and 2001:db8:1::/48 trusted.
bool IsClient(std::string_view expected, ForwardedField field, std::string_view value) {
  const ForwardedRules rules{.field = field,
                             .proxies = *IpNetworks::Parse({"10.0.0.0/8", "2001:db8:1::/48"})};
  return ClientBehind(*ParseIpAddress(kPeer), value, rules) == *ParseIpAddress(expected);
}

TEST(Forwarded, TheRightmostThatIsNoProxyIsTheClient) {
  for (const auto& [value, client] : {
           std::pair{"192.0.2.1", "192.0.2.1"},
           {"6.6.6.6, 192.0.2.1", "192.0.2.1"},  // what the caller wrote is on the left
           {"6.6.6.6,192.0.2.1 ,\t10.0.0.2, 10.9.9.9", "192.0.2.1"},
           {"192.0.2.1:4711", "192.0.2.1"},
           {"2001:db8::7", "2001:db8::7"},
           {"[2001:db8::7]:4711, 2001:db8:1::2", "2001:db8::7"},
           {"10.0.0.3, 10.0.0.2", "10.0.0.3"},  // proxies all along: the first of them
       }) {
    EXPECT_TRUE(IsClient(client, ForwardedField::kXForwardedFor, value)) << value;
  }
  for (const auto& [value, client] : {
           std::pair{"for=192.0.2.1", "192.0.2.1"},
           {"for=6.6.6.6, for=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"},
           {"For=\"[2001:db8::7]:4711\" , for=10.0.0.2", "2001:db8::7"},
           {"proto=http; FOR=\"192.0.2.1:80\";host=\"a,b;c\"", "192.0.2.1"},
           {"for=\"192.\\0.2.1\"", "192.0.2.1"},
           {";;for=192.0.2.1;", "192.0.2.1"},
       }) {
    EXPECT_TRUE(IsClient(client, ForwardedField::kForwarded, value)) << value;
  }
}

TEST(Forwarded, WhatNamesNobodyEndsTheChain) {
  for (const auto& [value, client] : {
           std::pair{"", "10.0.0.1"},
           {"unknown", "10.0.0.1"},
           {"192.0.2.1, unknown", "10.0.0.1"},
           {"192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"},
           {"192.0.2.1,", "10.0.0.1"},
           {"\"192.0.2.1\"", "10.0.0.1"},
       }) {
    EXPECT_TRUE(IsClient(client, ForwardedField::kXForwardedFor, value)) << value;
  }
  for (const auto& [value, client] : {
           std::pair{"for=unknown", "10.0.0.1"},
           {"for=_hidden, for=10.0.0.2", "10.0.0.2"},
           {"for=192.0.2.1, proto=https", "10.0.0.1"},
           {"for=192.0.2.1, ", "10.0.0.1"},
       }) {
    EXPECT_TRUE(IsClient(client, ForwardedField::kForwarded, value)) << value;
  }
}

// Otherwise the caller's own part could take in what the proxy wrote behind it.
TEST(Forwarded, AFieldThatIsWrongAnywhereCountsForNothing) {
  for (const char* value :
       {"for=6.6.6.6;x=\", for=192.0.2.1", "for=6.6.6.6;x=\", for=\"[2001:db8::7]\"",
        "for=\"192.0.2.1", "for=\"192.0.2.1\\", "for 192.0.2.1", "for==192.0.2.1, for=192.0.2.1",
        "for=192.0.2.1;for=192.0.2.2", "for=[2001:db8::7]", "for= 192.0.2.1", "=192.0.2.1"}) {
    EXPECT_TRUE(IsClient(kPeer, ForwardedField::kForwarded, value)) << value;
  }
}

TEST(Forwarded, LengthAndHopsAreBounded) {
  std::string hops = "192.0.2.1";
  for (std::size_t i = 1; i < kForwardedHopsMax; ++i) hops += ",10.0.0.2";
  EXPECT_TRUE(IsClient("192.0.2.1", ForwardedField::kXForwardedFor, hops));
  EXPECT_TRUE(IsClient("10.0.0.2", ForwardedField::kXForwardedFor, hops + ",10.0.0.2"));
  const std::string tail = ",192.0.2.1";
  const std::string most = std::string(kForwardedBytesMax - tail.size(), 'x') + tail;
  EXPECT_TRUE(IsClient("192.0.2.1", ForwardedField::kXForwardedFor, most));
  EXPECT_TRUE(IsClient(kPeer, ForwardedField::kXForwardedFor, "x" + most));
}

TEST(Forwarded, ItCountsOnAConnectionFromATrustedProxyAlone) {
  ForwardedRules rules{.field = ForwardedField::kXForwardedFor,
                       .proxies = *IpNetworks::Parse({"10.0.0.0/8"})};
  EXPECT_TRUE(rules.Apply(*ParseIpAddress("10.0.0.1")));
  EXPECT_FALSE(rules.Apply(*ParseIpAddress("192.0.2.1")));
  rules.field = ForwardedField::kNone;
  EXPECT_FALSE(rules.Apply(*ParseIpAddress("10.0.0.1")));
}

TEST(Forwarded, TheFieldIsNamedAsItIsWritten) {
  EXPECT_EQ(ParseForwardedField("none"), ForwardedField::kNone);
  EXPECT_EQ(ParseForwardedField("forwarded"), ForwardedField::kForwarded);
  EXPECT_EQ(ParseForwardedField("x-forwarded-for"), ForwardedField::kXForwardedFor);
  EXPECT_EQ(ParseForwardedField("x-real-ip"), std::nullopt);
}

}  // namespace
}  // namespace bulla
