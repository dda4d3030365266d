#include "gateway/frontend/request_id.h"

#include <gtest/gtest.h>
#include <set>
#include <string>

namespace bulla {
namespace {

TEST(RequestId, OnlyHarmlessCharactersAndLengthsAreTaken) {
  EXPECT_TRUE(IsAcceptableRequestId("a"));
  EXPECT_TRUE(IsAcceptableRequestId("AZaz09._:-"));
  EXPECT_TRUE(IsAcceptableRequestId(std::string(128, 'a')));
  EXPECT_FALSE(IsAcceptableRequestId(""));
  EXPECT_FALSE(IsAcceptableRequestId(std::string(129, 'a')));
  for (int c = 0; c < 256; ++c) {
    bool harmless = std::isalnum(c) != 0 || c == '.' || c == '_' || c == ':' || c == '-';
    EXPECT_EQ(IsAcceptableRequestId(std::string(1, static_cast<char>(c))), harmless) << c;
  }
}

TEST(RequestId, NewOnesAreAcceptableAndNeverTheSame) {
  RequestIdSource one;
  RequestIdSource two;
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    ids.insert(one.Next());
    ids.insert(two.Take("not acceptable"));
  }
  EXPECT_EQ(ids.size(), 2000u);
  EXPECT_TRUE(IsAcceptableRequestId(*ids.begin()));
  EXPECT_EQ(one.Take("mine"), "mine");
}

}  // namespace
}  // namespace bulla
