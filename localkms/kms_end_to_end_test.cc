// The enclave's KMS client against the local KMS, over TLS on a socket, with a simulated NSM: the
// whole way of a data key.

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>
#include <thread>

#include "attest/cbor.h"
#include "tests/fakes/local_kms.h"

namespace bulla {
namespace {

namespace json = boost::json;
using std::chrono::seconds;
using ::testing::HasSubstr;

// Answers every attestation with a document in which one bit was changed.
class TamperingNsm final : public Nsm {
 public:
  explicit TamperingNsm(Nsm& nsm) : nsm_(nsm) {}
  std::string_view platform() const override { return "simulated"; }

 private:
  absl::StatusOr<Bytes> Exchange(ByteSpan) override {
    BULLA_ASSIGN_OR_RETURN(Bytes document, nsm_.Attest({}, {}, Bytes(294, 7)));
    document[document.size() / 2] ^= 1;
    return CborWriter()
        .Map(1)
        .Text("Attestation")
        .Map(1)
        .Text("document")
        .ByteString(document)
        .bytes();
  }

  Nsm& nsm_;
};

class LocalKms : public ::testing::Test, protected LocalKmsWorld {};

TEST_F(LocalKms, ADataKeyOpensAgain) {
  absl::StatusOr<DataKey> made = client_->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline());
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->key_id, key_arn_);
  EXPECT_FALSE(ConstantTimeEquals(made->plaintext.Expose(), Secret<32>().Expose()));
  absl::StatusOr<Secret<32>> opened =
      client_->DecryptBlocking(kCaller, made->wrapped, dek_id_, Deadline());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(ConstantTimeEquals(opened->Expose(), made->plaintext.Expose()));
  EXPECT_EQ(Calls("GenerateDataKey"), 1);
  EXPECT_EQ(Calls("Decrypt"), 1);
  EXPECT_EQ(dials_, 1) << "the connection is kept";
}

TEST_F(LocalKms, PlainTextNeverTravelsWhereARecipientIsNamed) {
  absl::StatusOr<DataKey> made = client_->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline());
  ASSERT_TRUE(made.ok()) << made.status();
  for (int round = 0; round < 2; ++round) {
    json::object reply = json::parse(LastReply()).as_object();
    EXPECT_TRUE(reply.at("Plaintext").is_null());
    EXPECT_TRUE(reply.at("CiphertextForRecipient").is_string());
    EXPECT_EQ(LastReply().find(Base64Encode(made->plaintext.Expose())), std::string::npos);
    ASSERT_TRUE(client_->DecryptBlocking(kCaller, made->wrapped, dek_id_, Deadline()).ok());
  }
}

TEST_F(LocalKms, AnotherDekIdDoesNotOpenTheBlob) {
  absl::StatusOr<DataKey> made = client_->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline());
  ASSERT_TRUE(made.ok()) << made.status();
  absl::StatusOr<Secret<32>> opened = client_->DecryptBlocking(
      kCaller, made->wrapped, DekId::New(WallTime(seconds(5))), Deadline());
  EXPECT_TRUE(absl::IsInvalidArgument(opened.status())) << opened.status();
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("InvalidCiphertextException"));
}

TEST_F(LocalKms, ADamagedBlobDoesNotOpen) {
  absl::StatusOr<DataKey> made = client_->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline());
  ASSERT_TRUE(made.ok()) << made.status();
  for (std::size_t at = 0; at < made->wrapped.size(); at += 7) {
    Bytes damaged = made->wrapped;
    damaged[at] ^= 0x40;
    absl::Status status = client_->DecryptBlocking(kCaller, damaged, dek_id_, Deadline()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << at << ": " << status;
  }
}

TEST_F(LocalKms, ADocumentUnderAnotherRootIsRefused) {
  ASSERT_TRUE(MakeSimulatedRoot(folder_ / "other", clock_.WallNow()).ok());
  auto other = SimulatedNsm::Create(folder_ / "other", SimulatedPcrs("test"), clock_);
  ASSERT_TRUE(other.ok());
  absl::Status status =
      NewClient(**other)->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("another root"));
}

TEST_F(LocalKms, ATamperedDocumentIsRefused) {
  TamperingNsm tampering(*nsm_);
  absl::Status status =
      NewClient(tampering)->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("ValidationException"));
}

TEST_F(LocalKms, WrongCredentialsAreRefused) {
  for (const AwsCredentials& wrong :
       {AwsCredentials{"AKIDOTHERAKIDOTHER", kCaller.secret_access_key, "test-token"},
        AwsCredentials{kCaller.access_key_id, "other-secret-other-secret", "test-token"},
        AwsCredentials{kCaller.access_key_id, kCaller.secret_access_key, "other-token"},
        AwsCredentials{kCaller.access_key_id, kCaller.secret_access_key, ""}}) {
    absl::Status status = client_->GenerateDataKeyBlocking(wrong, dek_id_, Deadline()).status();
    EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  }
  EXPECT_EQ(Calls("GenerateDataKey"), 0);
}

TEST_F(LocalKms, CredentialsThatWouldWriteHeadersOfTheirOwnNeverLeave) {
  for (std::string AwsCredentials::*part :
       {&AwsCredentials::access_key_id, &AwsCredentials::secret_access_key,
        &AwsCredentials::session_token}) {
    AwsCredentials injected = kCaller;
    injected.*part += "\r\nX-Amz-Target: TrentService.ListKeys";
    absl::Status status = client_->GenerateDataKeyBlocking(injected, dek_id_, Deadline()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  }
  EXPECT_EQ(dials_, 0);
}

TEST_F(LocalKms, AnUnknownKeyIsNotFound) {
  KmsClientOptions options = ClientOptions(*nsm_);
  options.key_arn = "arn:aws:kms:eu-central-1:000000000000:key/none";
  absl::Status status =
      (*KmsClient::Create(options))->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

TEST_F(LocalKms, AKeyOtherThanThePinnedOneIsRefused) {
  std::string second = (*keys_->Create("second", clock_.WallNow()))->arn;
  absl::StatusOr<DataKey> made = client_->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline());
  ASSERT_TRUE(made.ok()) << made.status();
  KmsClientOptions options = ClientOptions(*nsm_);
  options.key_arn = second;
  absl::Status status = (*KmsClient::Create(options))
                            ->DecryptBlocking(kCaller, made->wrapped, dek_id_, Deadline())
                            .status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("IncorrectKeyException"));
}

TEST_F(LocalKms, APeerWithoutTheHostsCertificateIsRefused) {
  KmsClientOptions options = ClientOptions(*nsm_);
  options.kms_host = "kms.us-east-1.amazonaws.com";
  absl::Status status =
      (*KmsClient::Create(options))->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  options = ClientOptions(*nsm_);
  options.ca_pem =
      ReadWholeFile((*MakeTlsIdentity(folder_ / "tls2", kRegion, clock_.WallNow())).ca);
  status =
      (*KmsClient::Create(options))->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_EQ(Calls("GenerateDataKey"), 0);
}

TEST_F(LocalKms, ASilentPeerCostsNoMoreThanTheDeadline) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd silent(pair[1]);
  KmsClientOptions options = ClientOptions(*nsm_);
  options.dial = [&]() -> absl::StatusOr<UniqueFd> { return UniqueFd(pair[0]); };
  absl::Status status =
      (*KmsClient::Create(options))
          ->GenerateDataKeyBlocking(kCaller, dek_id_, clock_.Now() + std::chrono::milliseconds(50))
          .status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST_F(LocalKms, AClockSixMinutesFastIsRefusedAndFourAreForgiven) {
  for (auto [by, accepted] : {std::pair(seconds(240), true), std::pair(seconds(360), false)}) {
    OffsetClock fast(by);
    KmsClientOptions options = ClientOptions(*nsm_);
    options.clock = &fast;
    absl::Status status = (*KmsClient::Create(options))
                              ->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline())
                              .status();
    EXPECT_EQ(status.ok(), accepted) << by.count() << " s: " << status;
    EXPECT_EQ(absl::IsUnauthenticated(status), !accepted) << status;
  }
}

TEST_F(LocalKms, ARestartKeepsTheKeysAndTheClientReconnects) {
  absl::StatusOr<DataKey> made = client_->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline());
  ASSERT_TRUE(made.ok()) << made.status();
  StopServer();
  StartServer();
  absl::StatusOr<Secret<32>> opened =
      client_->DecryptBlocking(kCaller, made->wrapped, dek_id_, Deadline());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_TRUE(ConstantTimeEquals(opened->Expose(), made->plaintext.Expose()));
  EXPECT_EQ(dials_, 2);
}

TEST_F(LocalKms, CallsAtOnceEachGetTheirOwnKey) {
  constexpr int kCalls = 6;
  std::vector<absl::StatusOr<DataKey>> made(kCalls);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kCalls; ++i) {
    threads.emplace_back(
        [&, i] { made[i] = client_->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()); });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<Bytes> wrapped;
  for (const auto& key : made) {
    ASSERT_TRUE(key.ok()) << key.status();
    wrapped.insert(key->wrapped);
  }
  EXPECT_EQ(wrapped.size(), kCalls);
}

TEST_F(LocalKms, MoreCallsAtOnceThanTheBoundAreRefused) {
  constexpr int kBound = 8;
  Mutex mutex;
  CondVar changed;
  int dialling = 0;
  bool go = false;
  KmsClientOptions options = ClientOptions(*nsm_);
  options.dial = [&]() -> absl::StatusOr<UniqueFd> {
    MutexLock lock(mutex);
    ++dialling;
    changed.NotifyAll();
    changed.Wait(mutex, [&] { return go || dialling > kBound; });
    return absl::UnavailableError("nobody there");
  };
  auto client = *KmsClient::Create(options);
  std::vector<std::thread> threads;
  for (int i = 0; i < kBound; ++i) {
    threads.emplace_back([&] {
      absl::Status status = client->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()).status();
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    });
  }
  {
    MutexLock lock(mutex);
    changed.Wait(mutex, [&] { return dialling == kBound; });
  }
  absl::Status status = client->GenerateDataKeyBlocking(kCaller, dek_id_, Deadline()).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  {
    MutexLock lock(mutex);
    go = true;
    changed.NotifyAll();
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace bulla
