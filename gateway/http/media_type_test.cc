#include "gateway/http/media_type.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

TEST(JsonMediaType, IsTakenInAnyCaseWithAnyWellFormedParameters) {
  for (const char* type :
       {"application/json", "Application/JSON", "application/json;charset=utf-8",
        "application/json ; charset=\"UTF-8\"", "application/json;charset=\"u\\tf-8\"",
        "application/json; charset=utf-8; profile=\"a;b\\\"c\"", "application/json;",
        "application/json; ;charset=utf-8", "application/json\t;x=y", "application/json;x=\"\""}) {
    EXPECT_TRUE(IsJsonMediaType(type)) << type;
  }
}

TEST(JsonMediaType, OtherTypesCharsetsAndWhatIsMalformedAreNot) {
  for (const char* type : {"",
                           "application",
                           "application/jsonx",
                           "application/json5;a=b",
                           "text/json",
                           "text/plain",
                           "application/json, text/plain",
                           "application/json charset=utf-8",
                           "application/json;charset",
                           "application/json;charset=",
                           "application/json;charset= utf-8",
                           "application/json;charset =utf-8",
                           "application/json;charset=latin1",
                           "application/json;charset=utf-8;charset=latin1",
                           "application/json;charset=\"utf-8",
                           "application/json;charset=\"utf-8\\",
                           "application/json;charset=\"utf-8\"x",
                           "application/json;=utf-8",
                           "application/json;a b=c",
                           "application/json+x"}) {
    EXPECT_FALSE(IsJsonMediaType(type)) << type;
  }
}

}  // namespace
}  // namespace bulla
