#include "kms/recipient.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <optional>
#include <string>

namespace bulla {
namespace {

// A real envelope, where the vectors are at hand: in BULLA_VECTORS, or beside the checkout.
std::optional<Bytes> RealEnvelope(const std::string& name) {
  const char* vectors = std::getenv("BULLA_VECTORS");
  const char* source = std::getenv("BULLA_SOURCE_DIR");
  for (const std::string& dir : {vectors ? std::string(vectors) : std::string(),
                                 (source ? std::string(source) : ".") + "/../shared/vectors"}) {
    std::ifstream file(dir + "/cms/" + name, std::ios::binary);
    if (!file) continue;
    return Bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  }
  return std::nullopt;
}

class RecipientTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    recipient_ = Recipient::Generate().value().release();
    other_ = Recipient::Generate().value().release();
  }
  static void TearDownTestSuite() {
    delete recipient_;
    delete other_;
  }
  Bytes Seal(std::size_t size) {
    return SealForRecipient(recipient_->public_key(), Bytes(size, 0x5a)).value();
  }

  static inline Recipient* recipient_ = nullptr;
  static inline Recipient* other_ = nullptr;
};

TEST_F(RecipientTest, OpensWhatWasSealedForIt) {
  absl::StatusOr<Secret<32>> secret = recipient_->Open(Seal(32));
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_TRUE(ConstantTimeEquals(secret->Expose(), Bytes(32, 0x5a)));
}

TEST_F(RecipientTest, TakesExactly32Bytes) {
  for (std::size_t size : {0u, 1u, 16u, 31u, 33u, 48u, 64u, 1024u}) {
    EXPECT_FALSE(recipient_->Open(Seal(size)).ok()) << size;
  }
}

TEST_F(RecipientTest, AnotherKeyDoesNotOpenIt) {
  absl::Status status = other_->Open(Seal(32)).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(std::string(status.message()).find("another key"), std::string::npos) << status;
}

TEST_F(RecipientTest, BytesAfterTheEnvelopeAreRefused) {
  Bytes envelope = Seal(32);
  envelope.push_back(0);
  EXPECT_FALSE(recipient_->Open(envelope).ok());
  envelope.resize(envelope.size() - 2);
  EXPECT_FALSE(recipient_->Open(envelope).ok()) << "cut short";
}

TEST_F(RecipientTest, OurEnvelopeHasTheShapeOfRealOnes) {
  Bytes ours = Seal(32);
  EXPECT_EQ(ours.size(), 493u) << "as every real envelope of 32 bytes";
  std::optional<Bytes> real = RealEnvelope("sdkc-input_ber.ber");
  if (!real) GTEST_SKIP() << "no vectors: set BULLA_VECTORS";
  ASSERT_EQ(real->size(), ours.size());
  // Equal but for the key identifier, the encrypted key, the initialisation vector, the content.
  for (auto [offset, size] :
       {std::pair(33, 32), std::pair(131, 256), std::pair(415, 16), std::pair(435, 48)}) {
    for (Bytes* envelope : {&ours, &*real}) {
      std::fill_n(envelope->begin() + offset, size, std::uint8_t{0});
    }
  }
  EXPECT_EQ(HexEncode(ours), HexEncode(*real));
}

TEST_F(RecipientTest, RealEnvelopesOfBothFormsParse) {
  for (const char* name : {"sdkc-input_ber.ber", "sdkc-input_ber_w_ctx.ber"}) {
    std::optional<Bytes> real = RealEnvelope(name);
    if (!real) GTEST_SKIP() << "no vectors: set BULLA_VECTORS";
    absl::StatusOr<Bytes> identifier = EnvelopeKeyIdentifier(*real);
    ASSERT_TRUE(identifier.ok()) << name << identifier.status();
    EXPECT_EQ(*identifier, Bytes(real->begin() + 33, real->begin() + 65));
    EXPECT_FALSE(recipient_->Open(*real).ok()) << "it is not for us";
  }
}

TEST_F(RecipientTest, ContentInOnePieceOpensToo) {
  // The other form that KMS sends: a primitive [0] in place of a constructed one with a chunk.
  Bytes envelope = Seal(32);
  Bytes content(envelope.begin() + 435, envelope.begin() + 483);
  envelope.resize(431);
  envelope.insert(envelope.end(), {0x80, 48});
  envelope.insert(envelope.end(), content.begin(), content.end());
  envelope.insert(envelope.end(), 2 * 4, 0x00);
  absl::StatusOr<Secret<32>> secret = recipient_->Open(envelope);
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_TRUE(ConstantTimeEquals(secret->Expose(), Bytes(32, 0x5a)));
}

TEST_F(RecipientTest, ContentInSeveralChunksOpensToo) {
  Bytes envelope = Seal(32);
  Bytes content(envelope.begin() + 435, envelope.begin() + 483);
  envelope.resize(433);
  for (std::ptrdiff_t at = 0; at < 48; at += 20) {
    std::ptrdiff_t size = std::min<std::ptrdiff_t>(20, 48 - at);
    envelope.insert(envelope.end(), {0x04, static_cast<std::uint8_t>(size)});
    envelope.insert(envelope.end(), content.begin() + at, content.begin() + at + size);
  }
  envelope.insert(envelope.end(), 2 * 5, 0x00);
  absl::StatusOr<Secret<32>> secret = recipient_->Open(envelope);
  ASSERT_TRUE(secret.ok()) << secret.status();
  EXPECT_TRUE(ConstantTimeEquals(secret->Expose(), Bytes(32, 0x5a)));
}

TEST_F(RecipientTest, OnlyRsa2048KeysAreSealedFor) {
  EXPECT_FALSE(SealForRecipient({}, Bytes(32)).ok());
  Bytes trailing = recipient_->public_key();
  trailing.push_back(0);
  EXPECT_FALSE(SealForRecipient(trailing, Bytes(32)).ok());
}

}  // namespace
}  // namespace bulla
