#include "bench/load/verification.h"

#include <gtest/gtest.h>
#include <memory>
#include <sstream>

#include <secp256k1.h>
#include <secp256k1_recovery.h>

#include "crypto/verifier.h"

namespace bulla {
namespace {

constexpr std::uint64_t kSeed = 7;

// Signs as the service does, with a secret that is no secret.
class TestKey {
 public:
  explicit TestKey(std::uint8_t number) { secret_[31] = number; }

  BenchKey Public() const {
    BenchKey key{.id = "key"};
    secp256k1_pubkey point;
    std::size_t length = key.public_key.size();
    EXPECT_EQ(secp256k1_ec_pubkey_create(context_.get(), &point, secret_.data()), 1);
    secp256k1_ec_pubkey_serialize(context_.get(), key.public_key.data(), &length, &point,
                                  SECP256K1_EC_COMPRESSED);
    return key;
  }

  RecoverableSignature Sign(const Digest32& digest) const {
    secp256k1_ecdsa_recoverable_signature signed_digest;
    EXPECT_EQ(secp256k1_ecdsa_sign_recoverable(context_.get(), &signed_digest, digest.data(),
                                               secret_.data(), nullptr, nullptr),
              1);
    RecoverableSignature signature;
    int recovery_id = 0;
    secp256k1_ecdsa_recoverable_signature_serialize_compact(context_.get(), signature.rs.data(),
                                                            &recovery_id, &signed_digest);
    signature.recovery_id = static_cast<std::uint8_t>(recovery_id);
    return signature;
  }

 private:
  struct Destroy {
    void operator()(secp256k1_context* context) const { secp256k1_context_destroy(context); }
  };

  std::unique_ptr<secp256k1_context, Destroy> context_{
      secp256k1_context_create(SECP256K1_CONTEXT_NONE)};
  ByteArray<32> secret_{};
};

Verification Verify(const AnswerLog& answers, const std::vector<BenchKey>& keys) {
  RealClock clock;
  std::ostringstream said;
  return VerifyBlocking(answers, keys, kSeed, clock, said);
}

TEST(Verification, CountsWhatIsRightOnBothSidesOfTheWarmUp) {
  std::vector<TestKey> signers;
  for (std::uint8_t number = 1; number <= 3; ++number) signers.emplace_back(number);
  std::vector<BenchKey> keys;
  for (const TestKey& signer : signers) keys.push_back(signer.Public());
  AnswerLog answers;
  for (std::uint64_t i = 0; i < 50; ++i) {
    answers.Add({i, signers[i % 3].Sign(DigestOf(kSeed, i)), i >= 20});
  }
  Verification found = Verify(answers, keys);
  EXPECT_EQ(found.warm_up_right, 20u);
  EXPECT_EQ(found.right, 30u);
  EXPECT_EQ(found.wrong, 0u);
  EXPECT_EQ(found.first_wrong, "");
}

TEST(Verification, FindsTheOneThatIsWrongHoweverItIs) {
  TestKey signer(1);
  TestKey stranger(2);
  RecoverableSignature right = signer.Sign(DigestOf(kSeed, 1));
  RecoverableSignature flipped = right;
  flipped.rs[40] ^= 1;
  RecoverableSignature other_id = right;
  other_id.recovery_id ^= 1;
  // Of the two signatures that lead to the key, the one with s in the upper half: n - s.
  RecoverableSignature high = right;
  constexpr ByteArray<32> kOrder{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48,
                                 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41};
  int borrow = 0;
  for (std::size_t i = 32; i-- > 0;) {
    int difference = kOrder[i] - right.rs[32 + i] - borrow;
    borrow = difference < 0 ? 1 : 0;
    high.rs[32 + i] = static_cast<std::uint8_t>(difference + 256 * borrow);
  }
  high.recovery_id ^= 1;
  EXPECT_EQ(*RecoverPublicKey(DigestOf(kSeed, 1), high), signer.Public().public_key);
  RecoverableSignature out_of_range = right;
  out_of_range.recovery_id = 4;
  for (const RecoverableSignature& wrong :
       {flipped, other_id, high, out_of_range, signer.Sign(DigestOf(kSeed, 2)),
        signer.Sign(DigestOf(kSeed + 1, 1)), stranger.Sign(DigestOf(kSeed, 1)),
        RecoverableSignature{}}) {
    AnswerLog answers;
    answers.Add({0, signer.Sign(DigestOf(kSeed, 0)), true});
    answers.Add({1, wrong, true});
    Verification found = Verify(answers, {signer.Public()});
    EXPECT_EQ(found.right, 1u);
    EXPECT_EQ(found.wrong, 1u);
    EXPECT_NE(found.first_wrong.find("request 1:"), std::string::npos);
  }
}

TEST(Verification, OfNothingFindsNothing) {
  Verification found = Verify(AnswerLog(), {});
  EXPECT_EQ(found.right + found.warm_up_right + found.wrong, 0u);
}

TEST(AnswerLog, KeepsEveryAnswerInItsOrder) {
  AnswerLog log;
  constexpr std::uint64_t kAnswers = 2 * AnswerLog::kPiece + 1;
  for (std::uint64_t i = 0; i < kAnswers; ++i) log.Add({.index = i, .signature = {}});
  std::uint64_t next = 0;
  for (const std::vector<SignedAnswer>& piece : log.pieces()) {
    for (const SignedAnswer& answer : piece) EXPECT_EQ(answer.index, next++);
  }
  EXPECT_EQ(next, kAnswers);
}

TEST(DigestOf, DiffersByIndexAndSeedAndIsTheSameAgain) {
  EXPECT_EQ(DigestOf(1, 2), DigestOf(1, 2));
  EXPECT_NE(DigestOf(1, 2), DigestOf(1, 3));
  EXPECT_NE(DigestOf(1, 2), DigestOf(2, 2));
}

}  // namespace
}  // namespace bulla
