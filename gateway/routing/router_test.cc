#include "gateway/routing/router.h"

#include <atomic>
#include <fstream>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "gateway/admin/status_report.h"
#include "tests/fakes/data_plane_test.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RouterTest : public DataPlaneTest {
 protected:
  // A DEK that is in the store, and an enclave that wants it opened again, probe by probe.
  DekId ReportDek(int enclave, bool in_store = true) {
    DekId dek = DekId::New({});
    if (in_store) store_.PutDek({.dek_id = dek, .wrapped = {1}}, [](absl::Status) {});
    wire::v1::ProbeReply probe;
    probe.add_deks_to_renew(std::string(AsText(dek.bytes)));
    probe.add_deks_to_renew(std::string(AsText(dek.bytes)));
    enclaves_[enclave]->SetProbe(probe);
    return dek;
  }
  void WaitForProbes(int enclave, int count) {
    int before = enclaves_[enclave]->probes();
    WaitUntil([&] { return enclaves_[enclave]->probes() >= before + count; });
  }

  // Over all labels.
  double CountOf(const std::string& metric) const {
    double sum = 0;
    std::istringstream lines(metrics_.Exposition());
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(metric + " ") || line.starts_with(metric + "{")) {
        sum += std::stod(line.substr(line.rfind(' ')));
      }
    }
    return sum;
  }
};

TEST_F(RouterTest, TheSealingDekIsDurableBeforeTheLinkIsReady) {
  StartEnclave(0);
  store_.FailWith(absl::UnavailableError("disk full"));
  StartPlane(1);
  WaitUntil([&] { return !Status().last_error.empty(); });
  EXPECT_EQ(plane_->fleet().available(), 0u);
  EXPECT_EQ(Create().first.code, ErrorCode::kUnavailable);
  store_.FailWith(absl::OkStatus());
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  EXPECT_EQ(store_.dek_count(), 1u);
}

TEST_F(RouterTest, AnEnclaveIsToldToSealOnceItsDekIsDurableAndNotBefore) {
  store_.FailWith(absl::UnavailableError("disk full"));
  StartEnclave(0);
  StartPlane(1);
  WaitUntil([&] { return enclaves_[0]->sealing_deks_obtained() >= 1; });
  WaitUntil([&] { return Status().reconnects >= 2; });
  EXPECT_EQ(enclaves_[0]->sealed_under(), 0);
  store_.FailWith(absl::OkStatus());
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  EXPECT_EQ(enclaves_[0]->sealed_under(), 1);
}

TEST_F(RouterTest, AnEnclaveThatWantsAnotherSealingDekGetsItStoredAndIsTold) {
  StartAll(1);
  const int obtained = enclaves_[0]->sealing_deks_obtained();
  const int told = enclaves_[0]->sealed_under();
  store_.FailWith(absl::UnavailableError("disk full"));
  wire::v1::ProbeReply probe;
  probe.set_sealing_dek_wanted(true);
  enclaves_[0]->SetProbe(probe);
  WaitUntil([&] { return enclaves_[0]->sealing_deks_obtained() >= obtained + 2; });
  EXPECT_EQ(enclaves_[0]->sealed_under(), told);
  store_.FailWith(absl::OkStatus());
  WaitUntil([&] { return enclaves_[0]->sealed_under() > told; });
  EXPECT_EQ(plane_->fleet().available(), 1u) << "nothing else stops for it";
}

// As when the store's file was gone at the gateway's start, and a new one was made.
TEST_F(RouterTest, AnEnclaveThatHasServedAnotherStoreIsNotUsedUnlessASettingNamesIt) {
  StartAll(1);
  ASSERT_TRUE(Create().first.ok());
  StopPlane();
  FakeKeyStore other;
  StartPlaneWith(other, 1, NothingWanted(), {});
  WaitUntil([&] { return !Status().foreign_store.empty(); });
  EXPECT_EQ(Status().foreign_store, store_.identity().id.ToString());
  WaitUntil([&] { return !Status().last_error.empty(); });
  EXPECT_NE(Status().last_error.find(other.identity().id.ToString()), std::string::npos);
  EXPECT_EQ(plane_->fleet().available(), 0u);
  EXPECT_EQ(other.dek_count(), 0u);
  StopPlane();

  StartPlaneWith(other, 1, NothingWanted(), {AddressOf(0).ToString()});
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  EXPECT_TRUE(Create().first.ok());
  StopPlane();

  StartPlaneWith(other, 1, NothingWanted(), {});  // it is this store's now
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  EXPECT_TRUE(Status().foreign_store.empty());
  StopPlane();
}

TEST_F(RouterTest, ARestartedEnclaveBelongsToNoStore) {
  StartAll(1);
  StopPlane();
  enclaves_[0].reset();
  StartEnclave(0);
  FakeKeyStore other;
  StartPlaneWith(other, 1, NothingWanted(), {});
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  StopPlane();
}

TEST_F(RouterTest, AStoreThatCannotBeWrittenIsInReadinessAndStatusButSigningIsReady) {
  StartAll(1);
  StoreStatus store{.path = "/b.db"};
  EXPECT_TRUE(NotReadyBecause(*plane_, store.health).empty());
  EXPECT_NE(StatusJson({}, *plane_, store, {}).find(R"("writable":true)"), std::string::npos);
  store.health = {.fault = StoreFault::kFull, .reason = "/b.db: no room", .since = {}};
  EXPECT_EQ(NotReadyBecause(*plane_, store.health),
            (std::vector<std::string>{"key store: /b.db: no room"}));
  EXPECT_TRUE(NotReadyToSignBecause(*plane_).empty());
  const std::string status = StatusJson({}, *plane_, store, {});
  for (const char* part : {R"("ready":false)", R"("fault":"full")", R"("writable":false)",
                           R"("reason":"/b.db: no room")"}) {
    EXPECT_NE(status.find(part), std::string::npos) << part << " in " << status;
  }
}

TEST_F(RouterTest, ManyCallsAtOnceAreEachAnsweredWithTheirOwnSignature) {
  StartAll(2);
  std::vector<KeyId> keys;
  for (int i = 0; i < 20; ++i) keys.push_back(Create().second.key_id);
  std::vector<std::unique_ptr<TestCall>> calls;
  for (int i = 0; i < 400; ++i) {
    calls.push_back(std::make_unique<TestCall>(keys[static_cast<std::size_t>(i) % keys.size()],
                                               static_cast<std::uint8_t>(i)));
    if (i > 0) calls[static_cast<std::size_t>(i) - 1]->next = calls.back().get();
  }
  keys_->Sign(calls.front().get());
  for (auto& call : calls) {
    ASSERT_EQ(call->Wait(), ErrorCode::kOk);
    EXPECT_EQ(call->signature, FakeEnclave::SignatureOf(call->digest));
  }
  EXPECT_LT(enclaves_[0]->frames() + enclaves_[1]->frames(), 20 + 100) << "they travel in frames";
}

TEST_F(RouterTest, ARestartedEnclaveGetsTheBlobBeforeTheRepeatedCall) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  DekId old_dek = enclaves_[0]->sealing_dek();
  enclaves_[0].reset();
  WaitUntil([&] { return plane_->fleet().available() == 0; });
  StartEnclave(0);
  WaitUntil([&] {
    return plane_->fleet().available() == 1 && plane_->unlocker().progress().pending == 0;
  });
  EXPECT_NE(enclaves_[0]->sealing_dek(), old_dek);
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1; });
  EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->blobs_loaded(), 1);
  EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->blobs_loaded(), 1) << "once is enough";
}

TEST_F(RouterTest, ADekThatIsNotOpenIsUnlockedInTheBackgroundOnce) {
  StartAll(1);
  DekId foreign = DekId::New({});
  KeyRow row{.key_id = KeyId::New({}), .dek_id = foreign};
  row.blob = FakeBlob(row.key_id, foreign);
  store_.PutDek({.dek_id = foreign, .wrapped = {1}}, [](absl::Status) {});
  store_.PutKey(row, std::nullopt, [](absl::StatusOr<KeyRow>) {});
  enclaves_[0]->FailUnlocks(2);
  EXPECT_EQ(Sign(row.key_id), ErrorCode::kUnlockRequired);
  ErrorCode error = ErrorCode::kUnlockRequired;
  WaitUntil([&] { return (error = Sign(row.key_id)) != ErrorCode::kUnlockRequired; });
  EXPECT_EQ(error, ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->deks_opened(), 1);
}

TEST_F(RouterTest, AKeyThatIsOpenedForTooLongAsksToComeBackAndStartsNoUnlock) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0]->SetScript([](const RequestBatch& requests, ReplyBatch& replies) {
    for (const SignItem& item : requests.signs) {
      replies.signs.push_back({.sequence = item.sequence, .status = ItemStatus::kRehydrateTimeout});
    }
    return true;
  });
  EXPECT_EQ(Sign(key_id), ErrorCode::kUnlockRequired);
  EXPECT_EQ(plane_->unlocker().progress().pending, 0u);
  EXPECT_EQ(enclaves_[0]->unlocks_begun(), 0);
}

TEST_F(RouterTest, AReportedDekIsOpenedAgainOnceWhileItsFlightRuns) {
  StartAll(1);
  enclaves_[0]->HoldUnlocks(true);
  ReportDek(0);
  WaitUntil([&] { return enclaves_[0]->unlocks_begun() > 0; });
  WaitForProbes(0, 5);
  EXPECT_EQ(enclaves_[0]->unlocks_begun(), 1);
  EXPECT_EQ(plane_->unlocker().progress().pending, 1u);
  enclaves_[0]->SetProbe({});
  WaitForProbes(0, 2);  // so that none that names it is on its way
  enclaves_[0]->HoldUnlocks(false);
  WaitUntil([&] { return plane_->unlocker().progress().pending == 0; });
  EXPECT_EQ(enclaves_[0]->deks_opened(), 1);
  EXPECT_EQ(enclaves_[0]->unlocks_begun(), 1);
}

TEST_F(RouterTest, AReportedDekIsTriedUntilKmsIsBackThoughTheEnclaveNamesItOnce) {
  StartAll(2);
  enclaves_[1]->FailUnlocks(4);
  ReportDek(1);
  WaitUntil([&] { return enclaves_[1]->unlocks_begun() > 0; });
  enclaves_[1]->SetProbe({});
  WaitUntil([&] {
    return enclaves_[1]->deks_opened() > 0 && plane_->unlocker().progress().pending == 0;
  });
  EXPECT_EQ(enclaves_[0]->unlocks_begun(), 0) << "the other enclave did not ask";
}

TEST_F(RouterTest, AReportedDekThatIsNotInTheStoreIsDropped) {
  StartAll(1);
  ReportDek(0, /*in_store=*/false);
  WaitForProbes(0, 5);
  enclaves_[0]->SetProbe({});
  WaitUntil([&] { return plane_->unlocker().progress().pending == 0; });
  EXPECT_EQ(enclaves_[0]->unlocks_begun(), 0);
}

TEST_F(RouterTest, ALostEnclavesUnlocksAreNotTriedWhileItIsGone) {
  StartAll(1);
  enclaves_[0]->FailUnlocks(1'000'000);
  ReportDek(0);
  WaitUntil([&] { return plane_->unlocker().progress().pending == 1; });
  enclaves_[0].reset();
  WaitUntil([&] { return plane_->unlocker().progress().pending == 0; });
  EXPECT_EQ(plane_->fleet().available(), 0u);
}

TEST_F(RouterTest, EveryEnclaveIsAskedForTheKeyPolicyWhenItIsConnectedAndWhenItChanges) {
  KeyPolicy policy = NothingWanted();
  policy.plain_key_ttl_hard = seconds(90);
  StartEnclave(0);
  StartEnclave(1);
  StartPlane(2, policy);
  WaitUntil([&] { return plane_->fleet().available() == 2; });
  EXPECT_EQ(enclaves_[0]->key_policy(), policy);
  EXPECT_EQ(enclaves_[1]->key_policy(), policy);

  policy.dek_ttl_soft = seconds(30);
  plane_->SetKeyPolicy(policy);
  for (int i : {0, 1}) WaitUntil([&] { return enclaves_[i]->key_policy() == policy; });

  enclaves_[0].reset();
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  StartEnclave(0);
  WaitUntil([&] { return plane_->fleet().available() == 2; });
  EXPECT_EQ(enclaves_[0]->key_policy(), policy) << "the changed one, after a restart too";
}

TEST_F(RouterTest, AnEnclaveIsAskedAlsoWhenNothingIsWanted) {
  StartAll(1);
  EXPECT_EQ(enclaves_[0]->policies_asked(), 1) << "it may still have an earlier gateway's";
  EXPECT_EQ(enclaves_[0]->key_policy(), NothingWanted());
}

TEST_F(RouterTest, ARefusedKeyPolicyIsShownAndTheLinkGoesOn) {
  StartEnclave(0);
  enclaves_[0]->RefusePolicies("dek.ttl_hard: got 1h,\nbut 30m is the most");
  StartPlane(1);
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  EXPECT_EQ(Status().policy_refused, "dek.ttl_hard: got 1h,?but 30m is the most");
  EXPECT_EQ(Sign(Create().second.key_id), ErrorCode::kOk);
  EXPECT_NE(StatusJson({}, *plane_, {}, {}).find("policyRefused"), std::string::npos);

  enclaves_[0]->RefusePolicies("");
  plane_->SetKeyPolicy(NothingWanted());
  WaitUntil([&] { return Status().policy_refused == "INVALID_ARGUMENT"; });

  enclaves_[0]->RefusePolicies(std::nullopt);
  plane_->SetKeyPolicy(NothingWanted());
  WaitUntil([&] { return Status().policy_refused.empty(); });
  EXPECT_EQ(StatusJson({}, *plane_, {}, {}).find("policyRefused"), std::string::npos);
  EXPECT_EQ(Status().reconnects, 0u);
}

TEST_F(RouterTest, AnEnclavesReportIsInItsStatus) {
  StartAll(1);
  wire::v1::ProbeReply probe;
  EnclaveReport sent;
  sent.number("keys_invalid") = 7;
  EncodeReport(sent, probe);
  enclaves_[0]->SetProbe(probe);
  WaitUntil([&] {
    std::optional<EnclaveReport> report = Status().report;
    return report && report->number("keys_invalid") == 7u;
  });
  EXPECT_NE(StatusJson({}, *plane_, {}, {}).find(R"("keysInvalid":7)"), std::string::npos);
}

TEST_F(RouterTest, AConfigurationThatWasNotTakenIsInTheStatus) {
  StartAll(1);
  EXPECT_EQ(StatusJson({}, *plane_, {}, {}).find("config"), std::string::npos);
  const std::string status =
      StatusJson({}, *plane_, {}, {.refused = "line 3", .restart_needed = {"store", "log_level"}});
  EXPECT_NE(status.find(R"("configRefused":"line 3")"), std::string::npos) << status;
  EXPECT_NE(status.find(R"("configNeedsRestart":["store","log_level"])"), std::string::npos);
}

TEST_F(RouterTest, SiblingsOpenADekAsSoonAsOneKeyIsSealedUnderIt) {
  StartAll(2);
  EXPECT_EQ(enclaves_[0]->deks_opened() + enclaves_[1]->deks_opened(), 0);
  for (int i = 0; i < 50; ++i) Create();
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  EXPECT_EQ(plane_->unlocker().progress().pending, 0u);
}

TEST_F(RouterTest, WhenItsEnclaveIsGoneAKeySignsInTheSibling) {
  StartAll(2);
  std::vector<KeyId> keys;
  for (int i = 0; i < 30; ++i) keys.push_back(Create().second.key_id);
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  enclaves_[0].reset();
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
}

TEST_F(RouterTest, WithoutAnEnclaveCallsAreUnavailableAtOnce) {
  StartPlane(1);
  EXPECT_EQ(Sign(KeyId::New({})), ErrorCode::kUnavailable);
  EXPECT_EQ(Create().first.code, ErrorCode::kUnavailable);
}

TEST_F(RouterTest, AnUnknownKeyIsInvalid) {
  StartAll(1);
  EXPECT_EQ(Sign(KeyId::New({})), ErrorCode::kInvalidKey);
}

TEST_F(RouterTest, ADisabledKeyIsInvalidAndForgottenInEveryEnclaveUntilItIsEnabled) {
  StartAll(2);
  const KeyRow key = Create().second;
  ASSERT_EQ(Sign(key.key_id), ErrorCode::kOk);
  ASSERT_TRUE(enclaves_[0]->Has(key.key_id) || enclaves_[1]->Has(key.key_id));
  store_.SetEnabled(key.key_id, false);
  WaitUntil([&] { return Sign(key.key_id) == ErrorCode::kInvalidKey; });
  for (int i : {0, 1}) {
    WaitUntil([&] { return !enclaves_[i]->forgotten().empty(); });
    EXPECT_EQ(enclaves_[i]->forgotten().front(), key.key_id);
    EXPECT_FALSE(enclaves_[i]->Has(key.key_id));
  }
  store_.SetEnabled(key.key_id, true);
  WaitUntil([&] { return Sign(key.key_id) == ErrorCode::kOk; });
}

TEST_F(RouterTest, WhatWasDisabledBeforeTheGatewayStartedIsNotSignedWithAndForgotten) {
  const DekRow dek{.dek_id = DekId::New({}), .wrapped = {1}};
  const KeyRow key{
      .key_id = KeyId::New({}), .dek_id = dek.dek_id, .blob = FakeBlob(key.key_id, dek.dek_id)};
  store_.PutDek(dek, [](const absl::Status&) {});
  store_.PutKey(key, std::nullopt, [](const absl::StatusOr<KeyRow>&) {});
  store_.SetEnabled(key.key_id, false);
  StartAll(1);
  EXPECT_EQ(Sign(key.key_id), ErrorCode::kInvalidKey);
  WaitUntil([&] { return !enclaves_[0]->forgotten().empty(); });
  enclaves_[0].reset();
  StartEnclave(0);
  WaitUntil([&] { return !enclaves_[0]->forgotten().empty(); });
}

TEST_F(RouterTest, WhatKmsRefusesForGoodIsAnsweredForWhatItIsCountedAndShown) {
  StartAll(1);
  const KeyRow key = Create().second;
  const DekRow dek{.dek_id = DekId::New({}), .wrapped = {1}};
  const KeyRow locked{
      .key_id = KeyId::New({}), .dek_id = dek.dek_id, .blob = FakeBlob(locked.key_id, dek.dek_id)};
  store_.PutDek(dek, [](const absl::Status&) {});
  store_.PutKey(locked, std::nullopt, [](const absl::StatusOr<KeyRow>&) {});
  enclaves_[0]->RefuseUnlocks(UnlockCause::kAccessDenied);
  WaitUntil([&] { return Sign(locked.key_id) == ErrorCode::kKmsAccessDenied; });
  EXPECT_EQ(Sign(key.key_id), ErrorCode::kOk) << "other data keys are open";
  const std::string status = StatusJson({}, *plane_, {}, {});
  EXPECT_NE(status.find(R"("unlocksRefused":{"access_denied":1})"), std::string::npos) << status;
  EXPECT_NE(
      metrics_.Exposition().find(R"(bulla_gateway_unlock_failures_total{cause="access_denied"} 1)"),
      std::string::npos);
  EXPECT_TRUE(plane_->unlocker().settled()) << "nothing will come of waiting";

  enclaves_[0]->RefuseUnlocks(std::nullopt);
  std::ofstream(dir_ + "/credentials.json")
      << R"({"accessKeyId": "AKIDEXAMPLERENEWED", "secretAccessKey": "exampleexampleexample"})";
  WaitUntil([&] { return Sign(locked.key_id) == ErrorCode::kOk; });
}

TEST_F(RouterTest, AnEnclaveThatKmsRefusesASealingDekSaysWhyAndIsTriedAgainWhenAsked) {
  StartEnclave(0);
  enclaves_[0]->RefuseUnlocks(UnlockCause::kKeyDisabled);
  StartPlane(1);
  WaitUntil([&] { return Status().reconnects > 3; });
  EXPECT_EQ(Status().sealing_refused, "key_disabled");
  const Error error = Create().first;
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_NE(error.message.find("KMS refuses"), std::string::npos) << error.message;
  enclaves_[0]->RefuseUnlocks(std::nullopt);
  plane_->RetryRefused();
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  EXPECT_EQ(Status().sealing_refused, "");
}

TEST_F(RouterTest, CallsInFlightOnALostConnectionAreAnswered) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  std::atomic<bool> arrived{false};
  enclaves_[0]->SetScript([&](const RequestBatch&, ReplyBatch&) { return arrived = true; });
  TestCall call(key_id, 1);
  keys_->Sign(&call);
  WaitUntil([&] { return arrived.load(); });
  enclaves_[0].reset();
  EXPECT_EQ(call.Wait(), ErrorCode::kUnavailable);
}

TEST_F(RouterTest, CallsInFlightInALostEnclaveAreSignedByItsSibling) {
  StartAll(2);
  std::vector<std::unique_ptr<TestCall>> calls;
  for (std::uint8_t i = 0; i < 30; ++i) {
    calls.push_back(std::make_unique<TestCall>(Create().second.key_id, i));
    if (i > 0) calls[i - 1u]->next = calls[i].get();
  }
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  std::atomic<bool> arrived{false};
  enclaves_[0]->SetScript([&](const RequestBatch&, ReplyBatch&) { return arrived = true; });
  keys_->Sign(calls.front().get());
  WaitUntil([&] { return arrived.load(); });
  enclaves_[0].reset();
  for (auto& call : calls) {
    EXPECT_EQ(call->Wait(), ErrorCode::kOk);
    EXPECT_EQ(call->signature, FakeEnclave::SignatureOf(call->digest));
  }
}

TEST_F(RouterTest, ACallIsRepeatedTwiceAndNotMore) {
  StartAll(4);
  KeyId key_id = Create().second.key_id;
  std::atomic<int> asked = 0;
  for (int i = 0; i < 4; ++i) {
    enclaves_[i]->SetScript([&](const RequestBatch& requests, ReplyBatch&) {
      asked += static_cast<int>(requests.signs.size());
      return false;
    });
  }
  EXPECT_EQ(Sign(key_id), ErrorCode::kUnavailable);
  EXPECT_EQ(asked, 3);
}

TEST_F(RouterTest, WhatTheBudgetRefusesIsCountedApartFromWhatWasRepeated) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  int asked = 0;
  std::atomic<int> answered = 0;
  enclaves_[0]->SetScript([&](const RequestBatch& requests, ReplyBatch& replies) {
    while (plane_->retry_budget().TryWithdraw()) continue;  // it fills up by itself, ten a second
    for (const SignItem& item : requests.signs) {
      replies.signs.push_back({.sequence = item.sequence, .status = ItemStatus::kRehydrateTimeout});
      ++answered;
    }
    return true;
  });
  while (CountOf("bulla_gateway_retry_refusals_total") == 0) {
    EXPECT_EQ(Sign(key_id), ErrorCode::kUnlockRequired);
    ++asked;
  }
  EXPECT_EQ(CountOf("retry_total"), answered - asked);
}

TEST_F(RouterTest, ManyCallsForOneColdKeyLoadItOnce) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0].reset();
  WaitUntil([&] { return plane_->fleet().available() == 0; });
  StartEnclave(0);
  WaitUntil([&] { return plane_->fleet().available() == 1 && plane_->unlocker().settled(); });
  std::vector<std::unique_ptr<TestCall>> calls;
  for (std::size_t i = 0; i < 500; ++i) {
    calls.push_back(std::make_unique<TestCall>(key_id, static_cast<std::uint8_t>(i)));
    if (i % 50 != 0) calls[i - 1]->next = calls[i].get();  // ten lists
  }
  for (std::size_t i = 0; i < 500; i += 50) keys_->Sign(calls[i].get());
  for (auto& call : calls) {
    ASSERT_EQ(call->Wait(), ErrorCode::kOk);
    EXPECT_EQ(call->signature, FakeEnclave::SignatureOf(call->digest));
  }
  EXPECT_EQ(enclaves_[0]->blobs_loaded(), 1);
}

TEST_F(RouterTest, ACutStreamIsReplacedAndItsCallsAreRepeatedInTheSameEnclave) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  std::atomic<bool> cut{false};
  enclaves_[0]->SetScript([&](const RequestBatch& requests, ReplyBatch& replies) {
    if (!cut.exchange(true)) return false;  // ends this stream and no other
    for (const SignItem& item : requests.signs) {
      replies.signs.push_back({.sequence = item.sequence,
                               .status = ItemStatus::kOk,
                               .signature = FakeEnclave::SignatureOf(item.digest)});
    }
    return true;
  });
  EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
  WaitUntil([&] { return Status().streams_open == 2; });
  EXPECT_EQ(Status().stream_resets, 1u);
  EXPECT_EQ(Status().reconnects, 0u) << "the enclave itself was not lost";
}

TEST_F(RouterTest, WhatAnEnclaveDoesNotAnswerItsSiblingSigns) {
  StartAll(2);
  std::vector<KeyId> keys;
  for (int i = 0; i < 30; ++i) keys.push_back(Create().second.key_id);
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  enclaves_[0]->SetScript([](const RequestBatch&, ReplyBatch&) { return true; });  // silent
  WaitUntil([&] {
    for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
    return plane_->fleet().statuses()[0].ejected;
  });
  EXPECT_EQ(plane_->fleet().available(), 1u);

  enclaves_[0]->SetScript(nullptr);  // and back, through trials
  WaitUntil([&] {
    for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
    return plane_->fleet().available() == 2;
  });
}

TEST_F(RouterTest, AnEnclaveThatIsAddedHasItsKeysBeforeItIsAskedForThemAndSoHaveOthersWhenItGoes) {
  StartEnclave(0);
  StartEnclave(1);
  StartPlane(1);
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  std::vector<KeyId> keys;
  for (int i = 0; i < 100; ++i) keys.push_back(Create().second.key_id);

  ASSERT_TRUE(plane_->fleet().Add({AddressOf(1)}).ok());
  EXPECT_EQ(plane_->fleet().Add({AddressOf(1)}).code(), absl::StatusCode::kAlreadyExists);
  WaitUntil([&] { return plane_->fleet().statuses()[1].weight == HashRing::kFullWeight; });
  const int loaded = enclaves_[1]->blobs_loaded();
  EXPECT_GT(loaded, 20);
  EXPECT_LT(loaded, 80);
  for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
  EXPECT_LT(enclaves_[1]->blobs_loaded(), loaded + 10) << "a blob may be slower than a step";

  ASSERT_TRUE(plane_->fleet().Remove(AddressOf(0)).ok());
  WaitUntil([&] { return plane_->fleet().statuses().size() == 1; });
  EXPECT_EQ(plane_->fleet().Remove(AddressOf(0)).code(), absl::StatusCode::kNotFound);
  WaitUntil([&] { return enclaves_[1]->blobs_loaded() >= 100; });  // before anything is asked
  for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
}

TEST_F(RouterTest, AnEnclaveThatIsDrainedGetsNoKeysAndStays) {
  StartAll(2);
  ASSERT_TRUE(plane_->fleet().SetWeight(AddressOf(0), 0).ok());
  WaitUntil([&] { return plane_->fleet().statuses()[0].weight == 0; });
  const int frames = enclaves_[0]->frames();
  for (int i = 0; i < 30; ++i) EXPECT_EQ(Sign(Create().second.key_id), ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->frames(), frames);
  EXPECT_EQ(plane_->fleet().available(), 2u);
  EXPECT_FALSE(plane_->fleet().SetWeight(AddressOf(0), HashRing::kWeightMax + 1).ok());
}

TEST_F(RouterTest, TheLastEnclaveThatHasKeysIsNeitherDrainedNorRemoved) {
  StartAll(2);
  ASSERT_TRUE(plane_->fleet().SetWeight(AddressOf(0), 0).ok());
  EXPECT_EQ(plane_->fleet().SetWeight(AddressOf(1), 0).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(plane_->fleet().Remove(AddressOf(1)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(plane_->fleet().SetWeight(AddressOf(1), 50).ok());
  EXPECT_TRUE(plane_->fleet().Remove(AddressOf(0)).ok()) << "it has none";
  enclaves_[1].reset();
  WaitUntil([&] { return plane_->fleet().available() == 0; });
  EXPECT_TRUE(plane_->fleet().Remove(AddressOf(1)).ok()) << "it signs nothing anyway";
}

TEST_F(RouterTest, ARestartedEnclaveGetsItsKeysBackBeforeItIsAskedForThem) {
  StartAll(2);
  std::vector<KeyId> keys;
  for (int i = 0; i < 100; ++i) keys.push_back(Create().second.key_id);
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  enclaves_[0].reset();
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);  // in the other
  StartEnclave(0);
  WaitUntil([&] {
    return plane_->fleet().available() == 2 &&
           plane_->fleet().statuses()[0].weight == HashRing::kFullWeight;
  });
  const int loaded = enclaves_[0]->blobs_loaded();
  EXPECT_GT(loaded, 20);
  for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
  EXPECT_LT(enclaves_[0]->blobs_loaded(), loaded + 10) << "a blob may be slower than a step";
}

TEST_F(RouterTest, ARestartedEnclaveServesOnlyWhenTheDeksInUseAreOpenWhileOthersDo) {
  StartAll(2);
  for (int i = 0; i < 30; ++i) Create();
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  enclaves_[0].reset();
  WaitUntil([&] { return plane_->fleet().available() == 1; });
  StartEnclave(0);
  enclaves_[0]->HoldUnlocks(true);
  WaitUntil([&] { return Status(0).connected && enclaves_[0]->unlocks_begun() > 0; });
  EXPECT_EQ(plane_->fleet().available(), 1u);
  enclaves_[0]->HoldUnlocks(false);
  WaitUntil([&] { return plane_->fleet().available() == 2; });
  EXPECT_GT(enclaves_[0]->deks_opened(), 0);
}

TEST_F(RouterTest, ASilentEnclaveCostsACallItsDeadlineAndNoMore) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0]->SetScript([](const RequestBatch&, ReplyBatch&) { return true; });
  TestCall call(key_id, 1, milliseconds(20));
  keys_->Sign(&call);
  EXPECT_EQ(call.Wait(), ErrorCode::kUnavailable);
  EXPECT_GE(clock_.Now(), call.deadline);
}

TEST_F(RouterTest, AnAnswerToAnotherQuestionIsDropped) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0]->SetScript([](const RequestBatch& requests, ReplyBatch& replies) {
    for (const SignItem& item : requests.signs) {
      SignReply reply{.sequence = item.sequence + 0x100, .status = ItemStatus::kOk};
      replies.signs.push_back(reply);  // the same slot, another generation
    }
    return true;
  });
  TestCall call(key_id, 1, milliseconds(20));
  keys_->Sign(&call);
  EXPECT_EQ(call.Wait(), ErrorCode::kUnavailable);
}

TEST_F(RouterTest, WhenEverySlotIsTakenTheNextCallIsRefused) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0]->SetScript([](const RequestBatch&, ReplyBatch&) { return true; });
  std::vector<std::unique_ptr<TestCall>> calls;
  for (std::size_t i = 0; i < 2 * EnclaveStream::kSlotsMax; ++i) {
    calls.push_back(std::make_unique<TestCall>(key_id, 1));
    keys_->Sign(calls.back().get());
  }
  EXPECT_EQ(Sign(key_id), ErrorCode::kRetryLater);
  plane_->Stop();
  for (auto& call : calls) EXPECT_EQ(call->Wait(), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace bulla
