// A parent that can do everything but read the enclave's memory tries to have new keys sealed under
// a data key that it knows: through the enclave's own service, with a KMS that answers both.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <grpcpp/create_channel_posix.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "base/random.h"
#include "enclave/server.h"
#include "enclave/service.h"
#include "kms/sealed_key.h"
#include "tests/fakes/local_kms.h"
#include "tests/fakes/small_key_cache.h"
#include "wire/enclave.grpc.pb.h"
#include "wire/key_policy.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

// The real time, and as much more as a test lets pass at once.
class SteppedClock final : public Clock {
 public:
  MonotonicTime Now() const override { return real_.Now() + Duration(stepped_.load()); }
  WallTime WallNow() const override { return real_.WallNow(); }
  void Advance(Duration by) { stepped_ += by.count(); }

 private:
  RealClock real_;
  std::atomic<Duration::rep> stepped_{0};
};

std::unique_ptr<Signer> NewSigner() {
  ByteArray<Signer::kSeedBytes> seed;
  FillRandom(seed);
  return *Signer::Create(seed);
}

class Sealing : public testing::Test, protected LocalKmsWorld {
 protected:
  Sealing() {
    KmsClientOptions options = ClientOptions(*nsm_);
    options.clock = &time_;
    kms_ = *KmsClient::Create(options);
    service_of_enclave_ = std::make_unique<EnclaveService>(
        EnclaveService::Parts{*workers_, *operations_, *cache_, *deks_, *kms_, time_}, "simulated",
        1);
    char name[] = "/tmp/bulla-sealing-XXXXXX";
    dir_ = ::mkdtemp(name);
    const Address address = *Address::Parse("unix:" + dir_ + "/enclave");
    server_of_enclave_ = *EnclaveServer::Start(address, *service_of_enclave_, time_);
    // grpc++: the parent's own code is not ours.
    enclave_ = wire::v1::Enclave::NewStub(grpc::CreateInsecureChannelFromFd(
        "enclave", DialBlocking(address, milliseconds(1000))->Release()));
  }
  ~Sealing() override {
    enclave_.reset();
    server_of_enclave_.reset();
    std::filesystem::remove_all(dir_);
  }

  // ---- What a parent can ask for

  absl::Status Unlock(wire::v1::UnlockRequest request, wire::v1::UnlockReply* reply = nullptr) {
    request.mutable_credentials()->set_access_key_id(kCaller.access_key_id);
    request.mutable_credentials()->set_secret_access_key(kCaller.secret_access_key);
    request.mutable_credentials()->set_session_token(kCaller.session_token);
    grpc::ClientContext context;
    wire::v1::UnlockReply ignored;
    grpc::Status status = enclave_->Unlock(&context, request, reply != nullptr ? reply : &ignored);
    return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
  }

  // A new sealing DEK, if one is to be made. Remembered as the enclave's own.
  absl::StatusOr<DekId> ObtainSealingDek() {
    wire::v1::UnlockRequest request;
    wire::v1::UnlockReply reply;
    request.set_new_sealing_dek(true);
    BULLA_RETURN_IF_ERROR(Unlock(request, &reply));
    const DekId id = DekId::FromBytes(AsBytes(reply.sealing_dek().dek_id()));
    const ByteSpan wrapped = AsBytes(reply.sealing_dek().wrapped());
    own_.emplace(id, Bytes(wrapped.begin(), wrapped.end()));
    return id;
  }

  absl::Status OpenDek(const DekId& id, const Bytes& wrapped) {
    wire::v1::UnlockRequest request;
    request.mutable_open()->set_dek_id(id.bytes.data(), DekId::kBytes);
    request.mutable_open()->set_wrapped(wrapped.data(), wrapped.size());
    return Unlock(request);
  }

  bool SealUnder(const DekId& id) {
    grpc::ClientContext context;
    wire::v1::SealUnderRequest request;
    wire::v1::SealUnderReply reply;
    request.set_dek_id(id.bytes.data(), DekId::kBytes);
    return enclave_->SealUnder(&context, request, &reply).ok();
  }

  void SetHardTtl(std::chrono::microseconds ttl) {  // zero: as the image has it
    grpc::ClientContext context;
    wire::v1::ConfigureRequest request;
    wire::v1::ConfigureReply reply;
    if (ttl.count() > 0) {
      wire::v1::PolicySetting& setting = *request.add_settings();
      setting.set_name("dek.ttl_hard");
      setting.set_value(static_cast<std::uint64_t>(ttl.count()));
    }
    ASSERT_TRUE(enclave_->Configure(&context, request, &reply).ok());
  }

  CreateReply Create() { return operations_->Create({.sequence = 1, .key_id = KeyId::New({})}); }

  void LetPass(Duration time) {
    time_.Advance(time);
    operations_->Advance();
  }

  // What KMS gives to whoever may call Encrypt.
  Bytes Encrypt(const DekId& id, const Secret<32>& key) {
    return *SealUnderKey(*keys_->Find(key_arn_), {{"bulla:dek", id.ToString()}}, key.Expose());
  }

  // ---- What must hold

  // The key was sealed under the DEK of that name, which the enclave had KMS generate.
  void ExpectSealedUnderOwn(const CreateReply& made) {
    auto own = own_.find(made.dek_id);
    ASSERT_NE(own, own_.end()) << "sealed under a DEK that the enclave did not make";
    absl::StatusOr<Plaintext> dek =
        OpenUnderKey(*keys_->Find(key_arn_), {{"bulla:dek", made.dek_id.ToString()}}, own->second);
    ASSERT_TRUE(dek.ok()) << dek.status();
    Secret<32> key;
    std::ranges::copy(dek->Expose(), key.Expose().begin());
    EXPECT_TRUE(OpenSealedKey(key, made.blob, ParseSealedKey(made.blob)->key_id, *signer_).ok())
        << "sealed under another key than the one that KMS generated";
  }

  SteppedClock time_;
  const std::unique_ptr<Signer> signer_ = NewSigner();
  const std::unique_ptr<DekTable> deks_ = NewDekTable();
  const std::unique_ptr<KeyCache> cache_ = NewKeyCache(*deks_, time_.Now());
  const std::unique_ptr<KeyOperations> operations_ = std::make_unique<KeyOperations>(
      *signer_, *cache_, *deks_, [] { return Bytes(256, 3); }, time_);
  const std::unique_ptr<Workers> workers_ =
      std::make_unique<Workers>(Workers::Options{.threads = 1, .queue_max = 16}, *operations_);
  std::unique_ptr<KmsClient> kms_;
  std::unique_ptr<EnclaveService> service_of_enclave_;
  std::string dir_;
  std::unique_ptr<EnclaveServer> server_of_enclave_;
  std::unique_ptr<wire::v1::Enclave::Stub> enclave_;
  std::map<DekId, Bytes> own_;
};

TEST_F(Sealing, ADekThatTheParentPutInPlaceOfALapsedOneSealsNothing) {
  const DekId id = *ObtainSealingDek();
  ASSERT_TRUE(SealUnder(id));
  ASSERT_EQ(Create().status, ItemStatus::kOk);

  Secret<32> parents;
  parents.Expose()[7] = 0x41;
  const Bytes parents_bytes = Encrypt(id, parents);
  SetHardTtl(milliseconds(100));
  LetPass(milliseconds(150));
  ASSERT_EQ(deks_->size(), 0u);
  SetHardTtl(milliseconds(0));
  OpenDek(id, parents_bytes).IgnoreError();  // whatever it is answered
  SealUnder(id);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(Create().status, ItemStatus::kNoSealingDek);

  const DekId next = *ObtainSealingDek();
  EXPECT_NE(next, id);
  ASSERT_TRUE(SealUnder(next));
  for (int i = 0; i < 8; ++i) {
    CreateReply made = Create();
    ASSERT_EQ(made.status, ItemStatus::kOk);
    ExpectSealedUnderOwn(made);
  }
  LetPass(minutes(61));
  EXPECT_FALSE(OpenDek(id, parents_bytes).ok()) << "and they open nothing either";
  EXPECT_TRUE(OpenDek(id, own_.at(id)).ok());
}

TEST_F(Sealing, ARenewalWithTheParentsBytesRenewsWithTheEnclavesOwn) {
  const DekId id = *ObtainSealingDek();
  ASSERT_TRUE(SealUnder(id));
  LetPass(minutes(57));
  EXPECT_TRUE(OpenDek(id, Encrypt(id, {})).ok());
  LetPass(minutes(57));
  CreateReply made = Create();
  ASSERT_EQ(made.status, ItemStatus::kOk) << "it was renewed";
  ExpectSealedUnderOwn(made);
}

TEST_F(Sealing, WhateverAParentDoesNewKeysAreSealedUnderWhatTheEnclaveMade) {
  const char* seed_text = std::getenv("BULLA_TEST_SEED");
  const std::uint64_t seed = seed_text != nullptr ? std::stoull(seed_text) : RandomUint64();
  std::printf("BULLA_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  SCOPED_TRACE("BULLA_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto below = [&random](std::uint64_t end) { return random() % end; };

  std::vector<DekId> ids{DekId::New({})};  // one that the enclave never made, too
  std::set<DekId> durable;
  int created = 0;
  int opened = 0;
  constexpr int kSteps = 1500;
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const DekId id = ids[below(2) == 0 ? ids.size() - 1 : below(ids.size())];
    switch (below(9)) {
      case 0:
        SetHardTtl(milliseconds(below(3) == 0 ? 0 : 100 + below(3'600'000 - 100)));
        break;
      case 1:
        LetPass(below(2) == 0 ? milliseconds(below(200)) : milliseconds(below(4'000'000)));
        break;
      case 2:
        if (absl::StatusOr<DekId> made = ObtainSealingDek(); made.ok() && *made != ids.back()) {
          ids.push_back(*made);
        }
        break;
      case 3:
        if (SealUnder(id)) durable.insert(id);
        break;
      case 4: {
        Secret<32> parents;
        parents.Expose()[below(32)] = static_cast<std::uint8_t>(below(256));
        opened += OpenDek(id, Encrypt(id, parents)).ok();
        break;
      }
      case 5:
        if (own_.contains(id)) OpenDek(id, own_.at(id)).IgnoreError();
        break;
      case 6:
        away_ = below(4) == 0;
        break;
      default: {
        CreateReply made = Create();
        ASSERT_TRUE(made.status == ItemStatus::kOk || made.status == ItemStatus::kNoSealingDek);
        if (made.status != ItemStatus::kOk) break;
        ++created;
        ASSERT_TRUE(durable.contains(made.dek_id));
        ASSERT_NO_FATAL_FAILURE(ExpectSealedUnderOwn(made));
        if (HasFailure()) return;
      }
    }
  }
  std::printf("%d keys under %zu data keys made; %d opens with the parent's bytes were answered\n",
              created, durable.size(), opened);
  EXPECT_GT(created, 20);
  EXPECT_GT(durable.size(), 5u);
}

// wire/README.md: whoever speaks another version learns both, and nothing of what is sealed here.
TEST_F(Sealing, AParentOfAnotherProtocolIsToldTheVersionsAndNothingElse) {
  ASSERT_TRUE(SealUnder(ObtainSealingDek().value()));
  for (std::uint32_t version = 0; version <= kWireProtocolVersion + 1; ++version) {
    grpc::ClientContext context;
    wire::v1::HelloRequest request;
    wire::v1::HelloReply reply;
    request.set_protocol_version(version);
    const grpc::Status status = enclave_->Hello(&context, request, &reply);
    if (version == kWireProtocolVersion) {
      EXPECT_TRUE(status.ok() && reply.has_sealing_dek());
      continue;
    }
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(status.error_message(), fmt::format("the gateway speaks protocol {}, this enclave {}",
                                                  version, kWireProtocolVersion));
    EXPECT_EQ(reply.ByteSizeLong(), 0u);
  }
}

}  // namespace
}  // namespace bulla
