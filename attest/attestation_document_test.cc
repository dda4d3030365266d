// Against a real document of AWS's, and against the rules of the format one by one. That documents
// of ours verify, and changed ones do not, is tested in kms/simulated_nsm_test.cc.

#include "attest/attestation_document.h"

#include <cstdlib>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <iterator>

#include "attest/cbor.h"

namespace bulla {
namespace {

using std::chrono::seconds;

// A real document, where the vectors are at hand: in BULLA_VECTORS, or beside the checkout.
std::optional<Bytes> Vector(const std::string& name) {
  const char* vectors = std::getenv("BULLA_VECTORS");
  const char* source = std::getenv("BULLA_SOURCE_DIR");
  for (const std::string& dir : {vectors ? std::string(vectors) : std::string(),
                                 (source ? std::string(source) : ".") + "/../shared/vectors"}) {
    std::ifstream file(dir + "/" + name, std::ios::binary);
    if (!file) continue;
    return Bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  }
  return std::nullopt;
}

// When the real document was valid.
const WallTime kFirst(seconds(1668034317));
const WallTime kLast(seconds(1668045120));

class RealDocument : public ::testing::Test {
 protected:
  void SetUp() override {
    document_ = Vector("veracruz-aws_nitro_document.cbor");
    if (!document_) GTEST_SKIP() << "no vectors: set BULLA_VECTORS";
  }
  absl::Status Verify(ByteSpan document, WallTime at) {
    return VerifyAttestationDocument(document, TrustAnchor::AwsNitro(), at).status();
  }
  std::optional<Bytes> document_;
};

TEST_F(RealDocument, Verifies) {
  auto document = VerifyAttestationDocument(*document_, TrustAnchor::AwsNitro(), kFirst);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(document->pcrs.size(), 16u);
  EXPECT_EQ(document->ca_bundle.size(), 4u);
  EXPECT_EQ(document->module_id.substr(0, 2), "i-");
  EXPECT_EQ(document->user_data->size(), 32u);
  EXPECT_EQ(document->nonce->size(), 32u);
  EXPECT_FALSE(document->IsDebug());
  EXPECT_GE(document->issued_at, kFirst);
  EXPECT_LE(document->issued_at, kLast);
}

TEST_F(RealDocument, VerifiesBehindATagToo) {
  Bytes tagged = *document_;
  tagged.insert(tagged.begin(), 0xd2);
  EXPECT_EQ(Verify(tagged, kFirst), absl::OkStatus());
  tagged[0] = 0xd1;
  EXPECT_TRUE(absl::IsInvalidArgument(Verify(tagged, kFirst)));
}

TEST_F(RealDocument, WithAWrongSignatureIsRefused) {
  std::optional<Bytes> bad = Vector("veracruz-aws_nitro_document_bad_sig.cbor");
  ASSERT_TRUE(bad);
  ASSERT_TRUE(ParseAttestationDocument(*bad).ok());
  absl::Status status = Verify(*bad, kFirst);
  EXPECT_TRUE(absl::IsPermissionDenied(status));
  EXPECT_NE(std::string(status.message()).find("signature is wrong"), std::string::npos) << status;
}

TEST_F(RealDocument, IsBelievedWhileItsLeafIsValid) {
  EXPECT_TRUE(Verify(*document_, kLast - seconds(1)).ok());
  EXPECT_FALSE(Verify(*document_, kLast + seconds(1)).ok());
  EXPECT_TRUE(Verify(*document_, kFirst - seconds(60)).ok()) << "the skew that is forgiven";
  EXPECT_FALSE(Verify(*document_, kFirst - seconds(61)).ok());
}

TEST_F(RealDocument, UnderAnotherRootIsRefused) {
  TrustAnchor other = TrustAnchor::AwsNitro();
  other.root_sha256[31] ^= 1;
  EXPECT_TRUE(
      absl::IsPermissionDenied(VerifyAttestationDocument(*document_, other, kFirst).status()));
}

TEST_F(RealDocument, EveryChangedBitIsNoticed) {
  for (std::size_t at = 0; at < document_->size(); at += 17) {
    Bytes changed = *document_;
    changed[at] ^= static_cast<std::uint8_t>(1u << (at % 8));
    EXPECT_FALSE(Verify(changed, kFirst).ok()) << at;
  }
}

TEST_F(RealDocument, CutShortOrPrologedIsRefused) {
  for (std::size_t size = 0; size < document_->size(); size += 97) {
    EXPECT_FALSE(Verify(ByteSpan(*document_).first(size), kFirst).ok()) << size;
  }
  Bytes longer = *document_;
  longer.push_back(0);
  EXPECT_TRUE(absl::IsInvalidArgument(Verify(longer, kFirst)));
}

TEST(TrustAnchor, TheRootThatAwsPublishesIsTheOnePinned) {
  std::optional<Bytes> pem = Vector("aws-nitro-root-g1.pem");
  if (!pem) GTEST_SKIP() << "no vectors: set BULLA_VECTORS";
  EXPECT_EQ(TrustAnchor::FromPem(AsText(*pem)).value().root_sha256, kAwsNitroRootSha256);
  EXPECT_FALSE(TrustAnchor::FromPem("nonsense").ok());
}

// A well-formed document with no honest signature, of which a test changes one thing.
struct Shape {
  Bytes prefix;  // before the array
  Bytes protected_header = CborWriter().Map(1).Integer(1).Integer(-35).bytes();
  Bytes unprotected = CborWriter().Map(0).bytes();
  std::size_t signature_bytes = 96;
  std::string digest = "SHA384";
  std::string module_id = "i-0-enc0";
  std::int64_t timestamp = 1'700'000'000'000;
  std::size_t pcr_bytes = 48;
  std::uint64_t pcr_index = 0;
  bool indefinite = false;
  std::string repeated;  // a key to give once more, with null
  std::string left_out;  // a key to leave out
  Bytes suffix;          // inside the payload, after the map
  std::size_t nonce_bytes = 32;

  Bytes Build() const {
    CborWriter body;
    std::size_t fields = 0;
    auto key = [&](const std::string& name) {
      if (name == left_out) return false;
      ++fields;
      body.Text(name);
      return true;
    };
    if (key("module_id")) body.Text(module_id);
    if (key("digest")) body.Text(digest);
    if (key("timestamp")) body.Integer(timestamp);
    if (key("pcrs")) body.Map(1).Unsigned(pcr_index).ByteString(Bytes(pcr_bytes));
    if (key("certificate")) body.ByteString(Bytes(10));
    if (key("cabundle")) body.Array(1).ByteString(Bytes(10));
    if (key("public_key")) body.Null();
    if (key("nonce")) body.ByteString(Bytes(nonce_bytes));
    if (key("some_new_field")) body.Array(2).Unsigned(1).Map(1).Unsigned(1).Null();
    if (!repeated.empty() && key(repeated)) body.Null();
    CborWriter head;
    indefinite ? head.IndefiniteMap() : head.Map(fields);
    Bytes payload = head.bytes();
    payload.insert(payload.end(), body.bytes().begin(), body.bytes().end());
    if (indefinite) payload.push_back(0xff);
    payload.insert(payload.end(), suffix.begin(), suffix.end());
    Bytes out = prefix;
    CborWriter first;
    first.Array(4).ByteString(protected_header);
    CborWriter last;
    last.ByteString(payload).ByteString(Bytes(signature_bytes));
    out.insert(out.end(), first.bytes().begin(), first.bytes().end());
    out.insert(out.end(), unprotected.begin(), unprotected.end());
    out.insert(out.end(), last.bytes().begin(), last.bytes().end());
    return out;
  }
};

bool Parses(const std::function<void(Shape&)>& change) {
  Shape shape;
  change(shape);
  return ParseAttestationDocument(shape.Build()).ok();
}

TEST(AttestationDocument, BothFormsOfTheOuterMapParse) {
  EXPECT_TRUE(Parses([](Shape&) {}));
  EXPECT_TRUE(Parses([](Shape& s) { s.indefinite = true; }));
}

TEST(AttestationDocument, UnknownFieldsAreSkippedAndOptionalOnesMayBeMissing) {
  EXPECT_TRUE(Parses([](Shape& s) { s.left_out = "some_new_field"; }));
  EXPECT_TRUE(Parses([](Shape& s) { s.left_out = "nonce"; }));
  for (const char* name : {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}) {
    EXPECT_FALSE(Parses([&](Shape& s) { s.left_out = name; })) << name;
  }
}

TEST(AttestationDocument, AFieldGivenTwiceIsRefused) {
  EXPECT_FALSE(Parses([](Shape& s) { s.repeated = "nonce"; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.repeated = "some_new_field"; }));
  EXPECT_TRUE(Parses([](Shape& s) { s.repeated = "user_data"; })) << "given once only";
}

TEST(AttestationDocument, OtherSignatureSchemesAreRefused) {
  auto with = [](const Bytes& header) {
    return Parses([&](Shape& s) { s.protected_header = header; });
  };
  EXPECT_FALSE(with(CborWriter().Map(1).Integer(1).Integer(-1).bytes())) << "as QEMU writes it";
  EXPECT_FALSE(with(CborWriter().Map(1).Integer(1).Integer(-7).bytes())) << "ES256";
  EXPECT_FALSE(with(CborWriter().Map(0).bytes()));
  EXPECT_FALSE(with({}));
  EXPECT_FALSE(with(CborWriter().Map(2).Integer(1).Integer(-35).Integer(4).Integer(1).bytes()));
  EXPECT_FALSE(with(CborWriter().Map(1).Integer(1).Integer(-35).Null().bytes()));
  EXPECT_FALSE(Parses([](Shape& s) { s.unprotected = {0xa1, 0x01, 0x02}; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.signature_bytes = 95; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.signature_bytes = 97; }));
}

TEST(AttestationDocument, FieldsOutOfTheirRangesAreRefused) {
  EXPECT_FALSE(Parses([](Shape& s) { s.digest = "SHA256"; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.module_id = ""; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.timestamp = 0; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.timestamp = -1; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.timestamp = std::numeric_limits<std::int64_t>::max(); }));
  EXPECT_FALSE(Parses([](Shape& s) { s.pcr_bytes = 32; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.pcr_bytes = 49; }));
  EXPECT_TRUE(Parses([](Shape& s) { s.pcr_index = 31; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.pcr_index = 32; }));
  EXPECT_TRUE(Parses([](Shape& s) { s.nonce_bytes = 1024; }));
  EXPECT_FALSE(Parses([](Shape& s) { s.nonce_bytes = 1025; }));
}

TEST(AttestationDocument, BytesAfterTheEndAreRefused) {
  EXPECT_FALSE(Parses([](Shape& s) { s.suffix = {0x00}; }));
  Bytes document = Shape().Build();
  document.push_back(0);
  EXPECT_FALSE(ParseAttestationDocument(document).ok());
}

TEST(AttestationDocument, WhatParsesAndIsNotSignedIsNotBelieved) {
  Bytes document = Shape().Build();
  ASSERT_TRUE(ParseAttestationDocument(document).ok());
  EXPECT_FALSE(VerifyAttestationDocument(document, TrustAnchor::AwsNitro(), kFirst).ok());
}

}  // namespace
}  // namespace bulla
