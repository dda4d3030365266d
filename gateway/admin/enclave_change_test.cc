#include "gateway/admin/enclave_change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

namespace bulla {
namespace {

using ::testing::HasSubstr;
using Kind = EnclaveChange::Kind;

std::string WhyRefused(Kind kind, std::string_view body) {
  absl::StatusOr<EnclaveChange> change = ParseEnclaveChange(kind, body);
  if (change.ok()) return "not refused";
  EXPECT_TRUE(absl::IsInvalidArgument(change.status())) << change.status();
  return std::string(change.status().message());
}

TEST(EnclaveChange, AnEnclaveIsAddedWithTheUsualWeightUnlessAnotherIsGiven) {
  absl::StatusOr<EnclaveChange> usual = ParseEnclaveChange(Kind::kAdd, R"({"address":"unix:/x"})");
  ASSERT_TRUE(usual.ok()) << usual.status();
  EXPECT_EQ(usual->address.ToString(), "unix:/x");
  EXPECT_EQ(usual->weight, 100u);
  EXPECT_EQ(ParseEnclaveChange(Kind::kAdd, R"({"weight":7,"address":"vsock:16:7000"})")->weight,
            7u);
}

TEST(EnclaveChange, AWeightIsAWholeNumberFromZeroToTheLargest) {
  for (std::uint32_t good : {0u, HashRing::kWeightMax}) {
    const std::string body = R"({"address":"unix:/x","weight":)" + std::to_string(good) + "}";
    absl::StatusOr<EnclaveChange> change = ParseEnclaveChange(Kind::kSetWeight, body);
    ASSERT_TRUE(change.ok()) << change.status();
    EXPECT_EQ(change->weight, good);
  }
  const std::string over = std::to_string(HashRing::kWeightMax + 1);
  for (const std::string& bad : {over, std::string("-1"), std::string("1.5"), std::string("\"5\""),
                                 std::string("null"), std::string("true"), std::string("[1]"),
                                 std::string("{}"), std::string("18446744073709551615")}) {
    const std::string why =
        WhyRefused(Kind::kSetWeight, R"({"address":"unix:/x","weight":)" + bad + "}");
    EXPECT_THAT(why, HasSubstr("weight: got")) << bad;
    EXPECT_THAT(why, HasSubstr("want a whole number of percent from 0 to")) << bad;
  }
}

TEST(EnclaveChange, WhatIsMissingUnknownOrGivenTwiceIsNamed) {
  EXPECT_THAT(WhyRefused(Kind::kAdd, "{}"), HasSubstr("address: missing, want"));
  EXPECT_THAT(WhyRefused(Kind::kSetWeight, R"({"address":"unix:/x"})"),
              HasSubstr("weight: missing, want"));
  EXPECT_THAT(WhyRefused(Kind::kAdd, R"({"address":"unix:/x","wieght":5})"),
              HasSubstr("'wieght': unknown; this object has address and weight"));
  EXPECT_THAT(WhyRefused(Kind::kRemove, R"({"address":"unix:/x","weight":5})"),
              HasSubstr("'weight': unknown; this object has address only"));
  EXPECT_EQ(WhyRefused(Kind::kAdd, R"({"address":"unix:/x","address":"unix:/y"})"),
            "address: given twice, want it once");
}

TEST(EnclaveChange, WhatIsNoAddressIsRefusedWithTheThreeForms) {
  for (const char* bad : {R"("/run/x")", R"("")", R"(7)", R"("vsock:1")", R"("unix:/x weight=50")",
                          R"("unix:/a\nb")", R"("unix:/\u0000")"}) {
    const std::string why = WhyRefused(Kind::kAdd, std::string(R"({"address":)") + bad + "}");
    EXPECT_THAT(why, HasSubstr("address: got")) << bad;
    EXPECT_THAT(why, HasSubstr("vsock:CID:PORT, unix:/PATH or tcp:HOST:PORT")) << bad;
  }
}

TEST(EnclaveChange, WhatIsNoJsonObjectIsRefused) {
  EXPECT_EQ(WhyRefused(Kind::kAdd, ""), "body: empty, want a JSON object");
  EXPECT_EQ(WhyRefused(Kind::kAdd, "[]"), "body: got an array, want a JSON object");
  EXPECT_EQ(WhyRefused(Kind::kAdd, "7"), "body: got 7, want a JSON object");
  for (const char* bad : {"{", "x", R"({"address":"unix:/x"}})", R"({"address":"unix:/x",})"}) {
    EXPECT_THAT(WhyRefused(Kind::kAdd, bad), HasSubstr("body: not valid JSON at byte")) << bad;
  }
}

}  // namespace
}  // namespace bulla
