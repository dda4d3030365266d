#include "localkms/kms_service.h"

#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/json.hpp>

namespace bulla {
namespace {

namespace json = boost::json;
using std::chrono::seconds;

const AwsCredentials kCaller{"AKIDTEST", "test-secret", ""};
const WallTime kNow(seconds(1'700'000'000));

class FixedClock final : public Clock {
 public:
  MonotonicTime Now() const override { return {}; }
  WallTime WallNow() const override { return kNow; }
};

class KmsServiceTest : public ::testing::Test {
 protected:
  KmsServiceTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "bulla-kms-test-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    keys_ = *KeyRing::Open(folder_ + "/keys", "eu-central-1");
    service_ = std::make_unique<KmsService>(
        KmsServiceOptions{"eu-central-1", {kCaller}, std::nullopt}, *keys_, clock_);
  }
  ~KmsServiceTest() override { std::filesystem::remove_all(folder_); }

  static KmsRequest Signed(std::string_view operation, std::string body, WallTime at = kNow) {
    std::string date = AmzDate(at);
    KmsRequest request{"POST",
                       "/",
                       {{"Host", "localhost"},
                        {"X-Amz-Date", date},
                        {"X-Amz-Target", fmt::format("TrentService.{}", operation)}},
                       std::move(body)};
    SigV4Request part{request.method, request.target, "", request.headers, AsBytes(request.body)};
    SigV4Scope scope{date.substr(0, 8), "eu-central-1", "kms"};
    request.headers.emplace_back("Authorization", *SigV4Authorization(part, scope, date, kCaller));
    return request;
  }

  json::object Call(std::string_view operation, const json::object& body) {
    return json::parse(service_->Handle(Signed(operation, json::serialize(body))).body).as_object();
  }
  std::string ErrorOf(const KmsRequest& request) {
    KmsReply reply = service_->Handle(request);
    return reply.status == 200 ? "" : json::parse(reply.body).at("__type").as_string().c_str();
  }
  std::string ErrorOf(std::string_view operation, const json::object& body) {
    return ErrorOf(Signed(operation, json::serialize(body)));
  }
  std::string NewKey() {
    return Call("CreateKey", {}).at("KeyMetadata").at("Arn").as_string().c_str();
  }

  FixedClock clock_;
  std::string folder_;
  std::unique_ptr<KeyRing> keys_;
  std::unique_ptr<KmsService> service_;
};

TEST_F(KmsServiceTest, EncryptAndDecryptAreInverse) {
  std::string arn = NewKey();
  std::string plaintext = Base64Encode(AsBytes("clay envelope"));
  json::object sealed = Call("Encrypt", {{"KeyId", arn}, {"Plaintext", plaintext}});
  json::object opened = Call("Decrypt", {{"CiphertextBlob", sealed.at("CiphertextBlob")}});
  EXPECT_EQ(opened.at("Plaintext").as_string(), plaintext);
  EXPECT_EQ(opened.at("KeyId").as_string(), arn);
}

TEST_F(KmsServiceTest, TheOrderOfTheEncryptionContextDoesNotMatterAndItsContentDoes) {
  std::string arn = NewKey();
  json::object sealed = Call(
      "Encrypt",
      {{"KeyId", arn}, {"Plaintext", "AAAA"}, {"EncryptionContext", {{"a", "1"}, {"b", "2"}}}});
  json::value blob = sealed.at("CiphertextBlob");
  auto decrypt = [&](json::object context) {
    return ErrorOf("Decrypt", {{"CiphertextBlob", blob}, {"EncryptionContext", context}});
  };
  EXPECT_EQ(decrypt({{"b", "2"}, {"a", "1"}}), "");
  EXPECT_EQ(decrypt({{"a", "1"}}), "InvalidCiphertextException");
  EXPECT_EQ(decrypt({}), "InvalidCiphertextException");
  EXPECT_EQ(decrypt({{"a", "2"}, {"b", "1"}}), "InvalidCiphertextException");
  EXPECT_EQ(decrypt({{"a1", ""}, {"b", "2"}}), "InvalidCiphertextException");
}

TEST_F(KmsServiceTest, DataKeysHaveTheSizeAskedFor) {
  std::string arn = NewKey();
  auto size = [&](json::object request) {
    request["KeyId"] = arn;
    json::object reply = Call("GenerateDataKey", request);
    if (!reply.contains("Plaintext")) return std::size_t{0};
    return Base64Decode(reply.at("Plaintext").as_string().c_str(), 4096)->size();
  };
  EXPECT_EQ(size({{"KeySpec", "AES_256"}}), 32u);
  EXPECT_EQ(size({{"KeySpec", "AES_128"}}), 16u);
  EXPECT_EQ(size({{"NumberOfBytes", 1}}), 1u);
  EXPECT_EQ(size({{"NumberOfBytes", 1024}}), 1024u);
  EXPECT_EQ(size({{"NumberOfBytes", 0}}), 0u);
  EXPECT_EQ(size({{"NumberOfBytes", 1025}}), 0u);
  EXPECT_EQ(size({{"NumberOfBytes", "32"}}), 0u);
  EXPECT_EQ(size({{"KeySpec", "AES_256"}, {"NumberOfBytes", 32}}), 0u);
  EXPECT_EQ(size({}), 0u);
}

TEST_F(KmsServiceTest, KeysAreFoundByIdAndByArn) {
  std::string arn = NewKey();
  std::string id = arn.substr(arn.rfind('/') + 1);
  for (const std::string& name : {arn, id}) {
    EXPECT_EQ(Call("DescribeKey", {{"KeyId", name}}).at("KeyMetadata").at("Arn").as_string(), arn);
  }
  EXPECT_EQ(ErrorOf("DescribeKey", {{"KeyId", "nobody"}}), "NotFoundException");
  EXPECT_EQ(ErrorOf("DescribeKey", {}), "ValidationException");
  EXPECT_EQ(Call("ListKeys", {}).at("Keys").as_array().size(), 1u);
}

TEST_F(KmsServiceTest, WhatItCannotKeepIsRefused) {
  EXPECT_EQ(ErrorOf("CreateKey", {{"KeySpec", "RSA_2048"}}), "UnsupportedOperationException");
  EXPECT_EQ(ErrorOf("CreateKey", {{"KeyUsage", "SIGN_VERIFY"}}), "UnsupportedOperationException");
  EXPECT_EQ(ErrorOf("CreateKey", {{"Policy", "{}"}}), "UnsupportedOperationException");
  EXPECT_EQ(ErrorOf("ScheduleKeyDeletion", {}), "UnknownOperationException");
  json::object recipient{{"KeyEncryptionAlgorithm", "RSAES_OAEP_SHA_256"},
                         {"AttestationDocument", "AAAA"}};
  EXPECT_EQ(ErrorOf("GenerateDataKey",
                    {{"KeyId", NewKey()}, {"KeySpec", "AES_256"}, {"Recipient", recipient}}),
            "ValidationException");
  EXPECT_TRUE(keys_->List().size() == 1);
}

TEST_F(KmsServiceTest, BodiesThatAreNoObjectAreRefused) {
  for (const char* body : {"", "[]", "null", "{", "{\"a\":1}x"}) {
    EXPECT_EQ(ErrorOf(Signed("ListKeys", body)), "SerializationException") << body;
  }
  std::string deep = std::string(1000, '[') + std::string(1000, ']');
  EXPECT_EQ(ErrorOf(Signed("ListKeys", "{\"a\":" + deep + "}")), "SerializationException");
}

TEST_F(KmsServiceTest, SignaturesAreTakenForFiveMinutesEitherWay) {
  for (int s : {0, 300, -300}) {
    EXPECT_EQ(ErrorOf(Signed("ListKeys", "{}", kNow + seconds(s))), "") << s;
  }
  for (int s : {301, -301}) {
    EXPECT_EQ(ErrorOf(Signed("ListKeys", "{}", kNow + seconds(s))), "InvalidSignatureException");
  }
}

TEST_F(KmsServiceTest, WhateverIsChangedAfterSigningIsNoticed) {
  KmsRequest good = Signed("ListKeys", "{}");
  ASSERT_EQ(ErrorOf(good), "");
  KmsRequest body = good;
  body.body = "{ }";
  EXPECT_EQ(ErrorOf(body), "InvalidSignatureException");
  KmsRequest target = good;
  target.headers[2].second = "TrentService.CreateKey";
  EXPECT_EQ(ErrorOf(target), "InvalidSignatureException");
  KmsRequest extra = good;
  extra.headers.emplace_back("X-Amz-Extra", "1");
  EXPECT_EQ(ErrorOf(extra), "InvalidSignatureException") << "x-amz- headers must be signed";
  KmsRequest twice = good;
  twice.headers.push_back(good.headers[2]);
  EXPECT_EQ(ErrorOf(twice), "UnknownOperationException") << "two targets are no target";
  KmsRequest bare = good;
  bare.headers.pop_back();
  EXPECT_EQ(ErrorOf(bare), "MissingAuthenticationTokenException");
  KmsRequest broken = good;
  broken.headers.back().second = "AWS4-HMAC-SHA256 nonsense";
  EXPECT_EQ(ErrorOf(broken), "IncompleteSignatureException");
  KmsRequest path = good;
  path.target = "/x";
  EXPECT_EQ(ErrorOf(path), "UnknownOperationException");
}

TEST_F(KmsServiceTest, StatsCountAuthenticatedCallsOnly) {
  Call("ListKeys", {});
  Call("ListKeys", {});
  KmsRequest forged = Signed("ListKeys", "{}");
  forged.body = "{ }";
  service_->Handle(forged);
  json::value stats = json::parse(service_->Handle({"GET", "/stats", {}, ""}).body);
  EXPECT_EQ(stats.at("ListKeys").as_int64(), 2);
  EXPECT_EQ(stats.at("Decrypt").as_int64(), 0);
}

TEST_F(KmsServiceTest, KeyFilesAreThereBeforeTheAnswerAndReadableByTheirOwnerOnly) {
  std::string arn = NewKey();
  std::string path = fmt::format("{}/keys/{}.key", folder_, arn.substr(arn.rfind('/') + 1));
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  auto again = KeyRing::Open(folder_ + "/keys", "eu-central-1");
  ASSERT_TRUE(again.ok()) << again.status();
  const CustomerKey* key = (*again)->Find(arn);
  ASSERT_NE(key, nullptr);
  EXPECT_TRUE(ConstantTimeEquals(key->key.Expose(), keys_->Find(arn)->key.Expose()));
  EXPECT_EQ(key->created_at, kNow);
}

TEST_F(KmsServiceTest, AKeyWhoseWritingWasCutShortIsNotThereAndDoesNoHarm) {
  std::string arn = NewKey();
  std::string path = fmt::format("{}/keys/{}.key", folder_, arn.substr(arn.rfind('/') + 1));
  std::filesystem::copy_file(path, folder_ + "/keys/0.key.new");
  std::filesystem::resize_file(folder_ + "/keys/0.key.new", 20);
  auto again = KeyRing::Open(folder_ + "/keys", "eu-central-1");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->List().size(), 1u);
  std::filesystem::resize_file(path, 20);
  EXPECT_FALSE(KeyRing::Open(folder_ + "/keys", "eu-central-1").ok())
      << "damage is not passed over";
}

}  // namespace
}  // namespace bulla
