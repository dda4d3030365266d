#include "base/bytes.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

TEST(Hex, EveryByteSurvivesTheRoundTrip) {
  ByteArray<256> all;
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint8_t>(i);
  ByteArray<256> back{};
  EXPECT_TRUE(HexDecode(HexEncode(all), back));
  EXPECT_EQ(all, back);
  EXPECT_TRUE(HexDecode(HexEncode0x(all), back));
}

TEST(Hex, WrongLengthOrDigitIsRefused) {
  ByteArray<2> out;
  for (const char* text :
       {"", "0x", "abc", "abcde", "0xabc", "0xabcde", "abcg", "ab d", "0x0xab"}) {
    EXPECT_FALSE(HexDecode(text, out)) << text;
  }
  EXPECT_TRUE(HexDecode("aBcD", out));
  EXPECT_EQ(out, (ByteArray<2>{0xab, 0xcd}));
}

TEST(Base64, OnlyTheCanonicalSpellingIsTaken) {
  Bytes bytes = {0xfb, 0xff, 0x00, 0x01};
  EXPECT_EQ(Base64Encode(bytes), "+/8AAQ==");
  EXPECT_EQ(Base64Decode("+/8AAQ==", 4), bytes);
  EXPECT_EQ(Base64Decode("+/8AAQ==", 3), std::nullopt) << "over the limit";
  for (const char* text : {"+/8AAQ", "+/8AAR==", "-_8AAQ==", " +/8AAQ==", "+/8A\nAQ==", "===="}) {
    EXPECT_EQ(Base64Decode(text, 100), std::nullopt) << text;
  }
  EXPECT_EQ(Base64Decode("", 0), Bytes{});
}

TEST(BigEndian, LoadsWhatItStored) {
  ByteArray<8> bytes;
  StoreBigEndian64(0x0102030405060708, bytes.data());
  EXPECT_EQ(bytes, (ByteArray<8>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(LoadBigEndian64(bytes.data()), 0x0102030405060708u);
  EXPECT_EQ(LoadBigEndian32(bytes.data()), 0x01020304u);
}

}  // namespace
}  // namespace bulla
