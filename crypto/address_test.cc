#include "crypto/address.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

PublicKey33 KeyFromHex(std::string_view hex) {
  PublicKey33 key{};
  EXPECT_TRUE(HexDecode(hex, key)) << hex;
  return key;
}

TEST(Address, AgreesWithPublishedAddresses) {
  struct {
    const char* public_key;
    const char* address;
  } vectors[] = {
      // Secret keys 1, 2 and 3.
      {"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
       "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"},
      {"02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
       "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF"},
      {"02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
       "0x6813Eb9362372EEF6200f3b1dbC3f819671cBA69"},
  };
  for (const auto& vector : vectors) {
    absl::StatusOr<Address20> address = AddressOf(KeyFromHex(vector.public_key));
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(ToEip55(*address), vector.address);
  }
}

TEST(Address, BytesThatAreNoPointAreRefused) {
  // x = 5 has no y on the curve; 04 is the mark of another length; the last x is the field's prime.
  for (const char* hex : {"020000000000000000000000000000000000000000000000000000000000000005",
                          "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
                          "000000000000000000000000000000000000000000000000000000000000000000",
                          "02fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"}) {
    EXPECT_EQ(AddressOf(KeyFromHex(hex)).status().code(), absl::StatusCode::kInvalidArgument)
        << hex;
  }
}

TEST(Eip55, AgreesWithTheVectorsOfTheSpecification) {
  for (std::string_view text :
       {"0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77", "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"}) {
    Address20 address{};
    ASSERT_TRUE(HexDecode(text, address));
    EXPECT_EQ(ToEip55(address), text);
  }
}

}  // namespace
}  // namespace bulla
