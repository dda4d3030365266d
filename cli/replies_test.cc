#include "cli/replies.h"

#include <gtest/gtest.h>

namespace bulla {
namespace {

constexpr const char* kKey =
    R"({"keyId":"0190a7c0-0000-7000-8000-000000000001",)"
    R"("publicKey":"0x0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",)"
    R"("address":"0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"})";

std::string SignatureWith(const std::string& recovery_id) {
  return R"({"signature":"0x)" + std::string(128, '1') + R"(","recoveryId":)" + recovery_id + "}";
}

TEST(PublicKeyReply, IsReadWithAndWithoutItsMetadata) {
  auto created = ParsePublicKeyReply(kKey);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->public_key[0], 2);
  EXPECT_TRUE(created->created_at.empty());

  std::string fetched = kKey;
  fetched.insert(fetched.size() - 1,
                 R"(,"createdAt":"2025-01-01T00:00:00.000Z","status":"ENABLED")");
  EXPECT_EQ(ParsePublicKeyReply(fetched)->status, "ENABLED");
}

TEST(PublicKeyReply, EveryMissingOrMalformedMemberIsRefused) {
  for (const char* text : {"", "[]", "{}", "null", R"({"keyId":1})",
                           R"({"keyId":"a","publicKey":"0x02","address":"b"})",
                           R"({"keyId":"a","publicKey":null,"address":"b"})"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParsePublicKeyReply(text).status())) << text;
  }
}

TEST(SignatureReply, TheRecoveryIdIsZeroToThree) {
  for (const char* good : {"0", "3"}) EXPECT_TRUE(ParseSignatureReply(SignatureWith(good)).ok());
  for (const char* bad : {"-1", "4", "256", "1.0", "\"1\"", "null", "99999999999999999999"}) {
    EXPECT_FALSE(ParseSignatureReply(SignatureWith(bad)).ok()) << bad;
  }
}

TEST(SignatureReply, TheSignatureIs64Bytes) {
  EXPECT_FALSE(ParseSignatureReply(R"({"signature":"0x11","recoveryId":0})").ok());
}

TEST(KeyListReply, IsRefusedAsAWholeWhenOneKeyIsMalformed) {
  std::string good = std::string(R"({"keys":[)") + kKey + "]}";
  ASSERT_TRUE(ParseKeyListReply(good).ok());
  EXPECT_EQ(ParseKeyListReply(good)->size(), 1u);
  EXPECT_FALSE(ParseKeyListReply(std::string(R"({"keys":[)") + kKey + ",{}]}").ok());
  EXPECT_FALSE(ParseKeyListReply(R"({"keys":{}})").ok());
}

TEST(ErrorReply, CarriesTheRetryHintOnlyWhereThereIsOne) {
  auto plain =
      ParseErrorReply(R"({"error":{"code":"INVALID_KEY","message":"no","requestId":"r"}})");
  ASSERT_TRUE(plain.ok());
  EXPECT_FALSE(plain->retry_after_ms.has_value());
  auto hinted =
      ParseErrorReply(R"({"error":{"code":"RETRY_LATER","message":"no","retryAfterMs":70}})");
  ASSERT_TRUE(hinted.ok());
  EXPECT_EQ(hinted->retry_after_ms, 70);
}

TEST(StatusReply, AnEnclaveHasAddressAndReadinessAndMayLackTheRest) {
  auto status = ParseStatusReply(R"({"enclaves":[{"address":"unix:/e","connected":true}]})");
  ASSERT_TRUE(status.ok()) << status.status();
  ASSERT_EQ(status->enclaves.size(), 1u);
  EXPECT_TRUE(status->enclaves[0].connected);
  EXPECT_FALSE(status->enclaves[0].report.has_value());
  for (const char* bad : {R"({})", R"({"enclaves":{}})", R"({"enclaves":[1]})",
                          R"({"enclaves":[{"connected":true}]})",
                          R"({"enclaves":[{"address":"unix:/e","connected":1}]})"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseStatusReply(bad).status())) << bad;
  }
}

TEST(StatusReply, CountsAreTakenUpToTheLargestAndWhatIsNoCountIsZero) {
  auto status = ParseStatusReply(
      R"({"unlocksPending":3,"enclaves":[{"address":"e","connected":false,"signatures":"x",)"
      R"("keysWarm":18446744073709551615,"keysCool":-1,"keysInvalid":7}]})");
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->unlocks_pending, 3u);
  ASSERT_TRUE(status->enclaves[0].report.has_value());
  EXPECT_EQ(*status->enclaves[0].report,
            (std::map<std::string, std::uint64_t>{
                {"keysWarm", ~std::uint64_t{0}}, {"keysCool", 0}, {"keysInvalid", 7}}));
}

TEST(StatusReply, AnEnclavesReportHasWhateverItCountsAndNothingOfTheGateways) {
  auto status = ParseStatusReply(
      R"({"enclaves":[{"address":"e","connected":true,"weight":50,"weightTarget":50,)"
      R"("streamsOpen":16,"inFlight":1,)"
      R"("reconnects":2,"streamResets":3,"stickyHitRate":1,"signatures":4,)"
      R"("keysFrozen":5,"note":"x"}]})");
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(*status->enclaves[0].report,
            (std::map<std::string, std::uint64_t>{{"signatures", 4}, {"keysFrozen", 5}}));

  std::string many = R"({"enclaves":[{"address":"e","connected":true,"signatures":1)";
  for (int i = 0; i < 100; ++i) many += R"(,"a)" + std::to_string(i) + R"(":1)";
  EXPECT_EQ(ParseStatusReply(many + "}]}")->enclaves[0].report->size(), 64u);
}

TEST(StatusReply, AnEnclavesStandingAndTheConfigurationsAreRead) {
  auto status = ParseStatusReply(
      R"({"build":{"version":"1.2.3","commit":"abc"},)"
      R"("unlocksPending":4,"unlocksRunning":3,"unlocksDone":2,"unlocksFailed":1,)"
      R"("store":{"writable":false,"reason":"the disk is full"},)"
      R"("configRefused":"line 3","configNeedsRestart":["store",7,"log_level"],)"
      R"("enclaves":[{"address":"e","connected":true,"available":true,"ejected":true,"weight":50,)"
      R"("streamResets":9,"stickyHitRate":0.5}]})");
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->version, "1.2.3");
  EXPECT_EQ(status->commit, "abc");
  EXPECT_EQ(status->unlocks_running, 3u);
  EXPECT_EQ(status->unlocks_done, 2u);
  EXPECT_EQ(status->unlocks_failed, 1u);
  EXPECT_EQ(status->store_unwritable, "the disk is full");
  EXPECT_EQ(status->config_refused, "line 3");
  EXPECT_EQ(status->config_needs_restart, (std::vector<std::string>{"store", "log_level"}));
  const EnclaveStatusReply& enclave = status->enclaves[0];
  EXPECT_TRUE(enclave.available);
  EXPECT_TRUE(enclave.ejected);
  EXPECT_EQ(enclave.weight, 50u);
  EXPECT_EQ(enclave.stream_resets, 9u);
  EXPECT_EQ(enclave.sticky_hit_rate, 0.5);
}

TEST(StatusReply, AShareIsANumberFromZeroToOneOrUnknown) {
  const auto share = [](const std::string& value) {
    return ParseStatusReply(R"({"enclaves":[{"address":"e","connected":true,"stickyHitRate":)" +
                            value + "}]}")
        ->enclaves[0]
        .sticky_hit_rate;
  };
  EXPECT_EQ(share("0"), 0.0);
  EXPECT_EQ(share("1"), 1.0);
  for (const char* bad : {"-0.1", "1.1", "2", "18446744073709551615", "null", "\"1\""}) {
    EXPECT_EQ(share(bad), std::nullopt) << bad;
  }
}

TEST(EnclaveChangeReply, HasAnAddressAndMayLackHowLongItLasts) {
  EXPECT_EQ(ParseEnclaveChangeReply(R"({"address":"e","lasts":"for ever"})")->lasts, "for ever");
  EXPECT_EQ(ParseEnclaveChangeReply(R"({"address":"e"})")->address, "e");
  EXPECT_FALSE(ParseEnclaveChangeReply(R"({"lasts":"for ever"})").ok());
}

TEST(StatusReply, RefusesWhatIsNestedTooDeeply) {
  std::string deep = R"({"enclaves":)" + std::string(100, '[') + std::string(100, ']') + "}";
  EXPECT_FALSE(ParseStatusReply(deep).ok());
}

}  // namespace
}  // namespace bulla
