#include "gateway/grpc/proxied_peers.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

IpAddress At(const char* text) { return *ParseIpAddress(text); }

TEST(ProxiedPeers, AConnectionIsWhomItsHeaderNames) {
  ProxiedPeers peers;
  const IpAddress proxy = At("10.0.0.1");
  EXPECT_EQ(peers.SourceOf({proxy, 7}), proxy);
  peers.Set({proxy, 7}, At("192.0.2.1"));
  EXPECT_EQ(peers.SourceOf({proxy, 7}), At("192.0.2.1"));
  EXPECT_EQ(peers.SourceOf({proxy, 8}), proxy);
  peers.Set({proxy, 7}, std::nullopt);  // another connection, from the same port
  EXPECT_EQ(peers.SourceOf({proxy, 7}), proxy);
}

TEST(ProxiedPeers, TheOldestIsForgottenWhenThereAreTooMany) {
  ProxiedPeers peers;
  const auto nth = [](std::uint32_t i) {
    IpAddress address{};
    address[12] = static_cast<std::uint8_t>(i >> 16);
    return IpEndpoint{address, static_cast<std::uint16_t>(i)};
  };
  const auto count = static_cast<std::uint32_t>(ProxiedPeers::kPeersMax);
  for (std::uint32_t i = 0; i <= count; ++i) peers.Set(nth(i), At("192.0.2.1"));
  EXPECT_EQ(peers.SourceOf(nth(0)), nth(0).address);
  EXPECT_EQ(peers.SourceOf(nth(1)), At("192.0.2.1"));
  EXPECT_EQ(peers.SourceOf(nth(count)), At("192.0.2.1"));
}

}  // namespace
}  // namespace bulla
