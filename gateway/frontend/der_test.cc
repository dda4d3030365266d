#include "gateway/frontend/der.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

ByteArray<64> Signature(std::string_view r_hex, std::string_view s_hex) {
  ByteArray<64> rs;
  EXPECT_TRUE(HexDecode(r_hex, MutableByteSpan(rs).first(32)));
  EXPECT_TRUE(HexDecode(s_hex, MutableByteSpan(rs).last(32)));
  return rs;
}

TEST(Der, KnownSignatureHasItsKnownEncoding) {
  // RFC 6979 with secp256k1 and SHA-256, key 1, message "Satoshi Nakamoto": a vector that many
  // libraries carry.
  EXPECT_EQ(HexEncode(EncodeDerSignature(
                Signature("934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8",
                          "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"))),
            "3045022100934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
            "02202442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5");
}

TEST(Der, LeadingZerosGoAndASignByteComes) {
  ByteArray<64> rs{};
  rs[31] = 0x7f;
  rs[62] = 0x80;
  EXPECT_EQ(HexEncode(EncodeDerSignature(rs)), "300802017f0203008000");
  EXPECT_EQ(HexEncode(EncodeDerSignature(ByteArray<64>{})), "3006020100020100");
  rs.fill(0xff);
  EXPECT_EQ(EncodeDerSignature(rs).size(), 72u) << "the longest there is";
}

}  // namespace
}  // namespace bulla
