#include "crypto/keccak.h"

#include <gtest/gtest.h>
#include <string>

namespace bulla {
namespace {

std::string HexOf(std::string_view message) { return HexEncode(Keccak256(AsBytes(message))); }

TEST(Keccak256, AgreesWithPublishedVectors) {
  EXPECT_EQ(HexOf(""), "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
  EXPECT_EQ(HexOf("abc"), "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
  // Signature hashes that every ERC-20 contract has: the selector a9059cbb and the event's topic.
  EXPECT_EQ(HexOf("transfer(address,uint256)").substr(0, 8), "a9059cbb");
  EXPECT_EQ(HexOf("Transfer(address,address,uint256)"),
            "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
}

// One, two and more blocks of 136 bytes, and both sides of each boundary: here two padding bytes
// fall together, there a block holds padding alone. Values from two independent implementations.
TEST(Keccak256, PadsRightAtEveryBlockBoundary) {
  EXPECT_EQ(HexOf(std::string(135, 'a')),
            "34367dc248bbd832f4e3e69dfaac2f92638bd0bbd18f2912ba4ef454919cf446");
  EXPECT_EQ(HexOf(std::string(136, 'a')),
            "a6c4d403279fe3e0af03729caada8374b5ca54d8065329a3ebcaeb4b60aa386e");
  EXPECT_EQ(HexOf(std::string(137, 'a')),
            "d869f639c7046b4929fc92a4d988a8b22c55fbadb802c0c66ebcd484f1915f39");
}

}  // namespace
}  // namespace bulla
