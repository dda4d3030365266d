#include "gateway/call/ip_address.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

IpAddress At(std::string_view text) {
  const std::optional<IpAddress> address = ParseIpAddress(text);
  EXPECT_TRUE(address) << text;
  return address.value_or(IpAddress{});
}

TEST(IpAddress, BothKindsAreOneType) {
  EXPECT_EQ(At("192.0.2.1"), MappedV4({192, 0, 2, 1}));
  EXPECT_EQ(At("::ffff:192.0.2.1"), At("192.0.2.1"));
  EXPECT_EQ(At("2001:db8::1"), At("2001:0DB8:0:0:0:0:0:1"));
  for (const char* none : {"", "192.0.2", "192.0.2.256", "192.0.2.1 ", "[::1]", "::1%lo", "a", ":",
                           "1.2.3.4:5", "00000000000000000000000000000000000000000000000001"}) {
    EXPECT_FALSE(ParseIpAddress(none)) << none;
  }
}

TEST(IpAddress, APortMayFollow) {
  for (const char* text : {"192.0.2.1", "192.0.2.1:0", "192.0.2.1:65535"}) {
    EXPECT_EQ(ParseIpAddressAndPort(text), At("192.0.2.1")) << text;
  }
  for (const char* text : {"2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711"}) {
    EXPECT_EQ(ParseIpAddressAndPort(text), At("2001:db8::1")) << text;
  }
  for (const char* none : {"", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:x", "192.0.2.1:1:2",
                           "[192.0.2.1]", "[::1", "[::1]x", "[::1]:", "[]", "unknown", "_hidden"}) {
    EXPECT_FALSE(ParseIpAddressAndPort(none)) << none;
  }
}

TEST(IpNetworks, HaveWhatIsInThem) {
  const IpNetworks networks =
      *IpNetworks::Parse({"10.0.0.0/8", "192.0.2.7", "2001:db8::/33", "198.51.100.128/25"});
  for (const char* in : {"10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8:7fff::1",
                         "::ffff:10.1.2.3", "198.51.100.255"}) {
    EXPECT_TRUE(networks.Has(At(in))) << in;
  }
  for (const char* out : {"11.0.0.0", "9.255.255.255", "192.0.2.6", "2001:db8:8000::", "::10.1.2.3",
                          "::1", "198.51.100.127"}) {
    EXPECT_FALSE(networks.Has(At(out))) << out;
  }
  EXPECT_FALSE(IpNetworks().Has(At("10.0.0.1")));
  EXPECT_TRUE(IpNetworks::Parse({"0.0.0.0/0"})->Has(At("1.2.3.4")));
  EXPECT_FALSE(IpNetworks::Parse({"0.0.0.0/0"})->Has(At("2001:db8::1")));
  EXPECT_TRUE(IpNetworks::Parse({"::/0"})->Has(At("1.2.3.4")));
}

TEST(IpNetworks, AnythingElseIsRefusedByName) {
  for (const char* wrong : {"", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.1/8", "/8",
                            "2001:db8::/129", "2001:db8::1/32", "localhost", "10.0.0.0/8 "}) {
    const absl::Status status = IpNetworks::Parse({"127.0.0.1", wrong}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_NE(std::string(status.message()).find("got \"" + std::string(wrong) + "\""),
              std::string::npos)
        << status;
  }
}

}  // namespace
}  // namespace bulla
