#include "attest/cbor.h"

#include <gtest/gtest.h>
#include <string>

namespace bulla {
namespace {

Bytes FromHex(std::string_view hex) {
  Bytes out(hex.size() / 2);
  EXPECT_TRUE(HexDecode(hex, out)) << hex;
  return out;
}

TEST(CborWriter, WritesTheExamplesOfTheRfc) {  // RFC 8949, appendix A
  EXPECT_EQ(HexEncode(CborWriter().Unsigned(23).bytes()), "17");
  EXPECT_EQ(HexEncode(CborWriter().Unsigned(24).bytes()), "1818");
  EXPECT_EQ(HexEncode(CborWriter().Unsigned(1000000000000).bytes()), "1b000000e8d4a51000");
  EXPECT_EQ(HexEncode(CborWriter().Integer(-1).bytes()), "20");
  EXPECT_EQ(HexEncode(CborWriter().Integer(-1000).bytes()), "3903e7");
  EXPECT_EQ(HexEncode(CborWriter().Bool(true).Null().bytes()), "f5f6");
  EXPECT_EQ(HexEncode(CborWriter().ByteString(Bytes{1, 2, 3, 4}).bytes()), "4401020304");
  EXPECT_EQ(HexEncode(CborWriter().Text("IETF").bytes()), "6449455446");
  EXPECT_EQ(HexEncode(CborWriter().IndefiniteMap().Text("a").Unsigned(1).Break().bytes()),
            "bf616101ff");
}

TEST(CborReader, IntegersOfEveryWidthAreRead) {
  for (std::uint64_t value : {0ull, 23ull, 24ull, 255ull, 256ull, 65535ull, 65536ull, 4294967295ull,
                              4294967296ull, 18446744073709551615ull}) {
    Bytes bytes = CborWriter().Unsigned(value).bytes();
    CborReader reader(bytes);
    EXPECT_EQ(reader.ReadUnsigned().value(), value);
    EXPECT_TRUE(reader.ExpectEnd().ok());
  }
  for (std::int64_t value : {-1ll, -24ll, -25ll, -65537ll, -9223372036854775807ll - 1}) {
    Bytes bytes = CborWriter().Integer(value).bytes();
    EXPECT_EQ(CborReader(bytes).ReadInteger().value(), value);
  }
  EXPECT_FALSE(CborReader(FromHex("1b8000000000000000")).ReadInteger().ok()) << "over 63 bits";
  EXPECT_FALSE(CborReader(FromHex("3b8000000000000000")).ReadInteger().ok());
}

TEST(CborReader, TagsOfEveryWidthAreRead) {
  for (auto [hex, tag] :
       {std::pair("c0", 0u), std::pair("c6", 6u), std::pair("d2", 18u), std::pair("d7", 23u),
        std::pair("d818", 24u), std::pair("d90100", 256u)}) {
    Bytes bytes = FromHex(hex);
    EXPECT_EQ(CborReader(bytes).ReadTag().value(), tag);
  }
}

TEST(CborReader, StringsOverTheirLimitAreRefused) {
  Bytes bytes = CborWriter().ByteString(Bytes(100)).bytes();
  EXPECT_TRUE(CborReader(bytes).ReadBytes(100).ok());
  EXPECT_FALSE(CborReader(bytes).ReadBytes(99).ok());
  Bytes text = CborWriter().Text(std::string(100, 'a')).bytes();
  EXPECT_TRUE(CborReader(text).ReadText(100).ok());
  EXPECT_FALSE(CborReader(text).ReadText(99).ok());
}

TEST(CborReader, LengthsThatAreNotThereAreRefused) {
  for (const char* hex : {"", "18", "5b7fffffffffffffff00", "5bffffffffffffffff", "7affffffff61",
                          "42aa", "1c", "5f41aaff", "7f6161ff"}) {
    Bytes bytes = FromHex(hex);
    EXPECT_FALSE(CborReader(bytes).Skip().ok()) << hex;
  }
}

TEST(CborReader, MapsOfBothFormsAreRead) {
  for (const char* hex : {"a2616101616202", "bf616101616202ff"}) {
    Bytes bytes = FromHex(hex);
    CborReader reader(bytes);
    std::string seen;
    ASSERT_TRUE(reader
                    .ReadMap(2,
                             [&]() -> absl::Status {
                               BULLA_ASSIGN_OR_RETURN(std::string_view key, reader.ReadText(1));
                               BULLA_ASSIGN_OR_RETURN(std::uint64_t value, reader.ReadUnsigned());
                               seen += std::string(key) + std::to_string(value);
                               return absl::OkStatus();
                             })
                    .ok());
    EXPECT_EQ(seen, "a1b2");
    EXPECT_TRUE(reader.ExpectEnd().ok());
    CborReader again(bytes);
    EXPECT_FALSE(again
                     .ReadMap(1,
                              [&]() -> absl::Status {
                                BULLA_RETURN_IF_ERROR(again.Skip());
                                return again.Skip();
                              })
                     .ok())
        << "one more than the limit";
  }
}

TEST(CborReader, ABreakWhereAValueBelongsIsRefused) {
  for (const char* hex : {"ff", "bf6161ff", "81ff", "a16161ff"}) {
    Bytes bytes = FromHex(hex);
    EXPECT_FALSE(CborReader(bytes).Skip().ok()) << hex;
  }
}

TEST(CborReader, NestingIsBounded) {
  auto nested = [](std::size_t depth) { return Bytes(depth, 0x81); };  // arrays of one
  Bytes shallow = nested(7);
  shallow.push_back(0x00);
  EXPECT_TRUE(CborReader(shallow).Skip().ok());
  Bytes deep = nested(8);
  deep.push_back(0x00);
  EXPECT_FALSE(CborReader(deep).Skip().ok());
  Bytes tags(100000, 0xc0);
  EXPECT_FALSE(CborReader(tags).Skip().ok());
}

TEST(CborReader, SkippingLeavesTheNextItem) {
  Bytes bytes = FromHex("a201820203fb3ff199999999999af607");  // {1: [2, 3], 1.1: null}, 7
  CborReader reader(bytes);
  ASSERT_TRUE(reader.Skip().ok());
  EXPECT_EQ(reader.ReadUnsigned().value(), 7u);
}

}  // namespace
}  // namespace bulla
