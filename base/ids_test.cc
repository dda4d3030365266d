#include "base/ids.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

TEST(KeyId, TextFormSurvivesTheRoundTrip) {
  KeyId id = KeyId::New(WallTime(std::chrono::milliseconds(0x0123456789ab)));
  EXPECT_EQ(id.ToString().substr(0, 15), "01234567-89ab-7") << "RFC 9562: time, then version 7";
  EXPECT_EQ(KeyId::Parse(id.ToString()), id);
}

TEST(KeyId, LaterOnesSortAfterEarlierOnes) {
  KeyId earlier = KeyId::New(WallTime(std::chrono::milliseconds(1000)));
  KeyId later = KeyId::New(WallTime(std::chrono::milliseconds(1001)));
  EXPECT_LT(earlier, later);
  EXPECT_LT(earlier.ToString(), later.ToString());
}

TEST(KeyId, MalformedTextIsRefused) {
  for (const char* text :
       {"", "01234567-89ab-7def-8123-456789abcde", "01234567-89ab-7def-8123-456789abcdef0",
        "0123456789ab7def8123456789abcdef", "01234567-89ab-7def-8123_456789abcdef",
        "g1234567-89ab-7def-8123-456789abcdef", "0x234567-89ab-7def-8123-456789abcdef"}) {
    EXPECT_FALSE(KeyId::Parse(text)) << text;
  }
  EXPECT_TRUE(KeyId::Parse("01234567-89AB-7def-8123-456789abcdef"));
}

}  // namespace
}  // namespace bulla
