#include "crypto/signer.h"

#include <atomic>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

#include <secp256k1.h>
#include <secp256k1_recovery.h>

#include "base/random.h"
#include "crypto/verifier.h"

namespace bulla {
namespace {

std::unique_ptr<Signer> NewSigner(SignatureCheck check = SignatureCheck::kRecompute) {
  ByteArray<Signer::kSeedBytes> seed;
  FillRandom(seed);
  absl::StatusOr<std::unique_ptr<Signer>> signer = Signer::Create(seed, check);
  EXPECT_TRUE(signer.ok()) << signer.status();
  return std::move(signer).value();
}

Secret<32> RandomKey() {
  Secret<32> key;
  FillRandom(key.Expose());
  return key;
}

// A key that nobody has seen, its point, and who signs with it.
struct KeyWithSigner {
  std::unique_ptr<Signer> signer;
  Secret<32> key;
  PublicPoint point;
};
KeyWithSigner NewKeyWith(SignatureCheck check) {
  KeyWithSigner made{NewSigner(check), RandomKey(), {}};
  made.point = *made.signer->DerivePublic(made.key);
  return made;
}

Secret<32> KeyFromHex(std::string_view hex) {
  Secret<32> key;
  EXPECT_TRUE(HexDecode(hex, key.Expose())) << hex;
  return key;
}

constexpr std::string_view kZero =
    "0000000000000000000000000000000000000000000000000000000000000000";
constexpr std::string_view kOne =
    "0000000000000000000000000000000000000000000000000000000000000001";
constexpr std::string_view kOrderLessOne =
    "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140";
constexpr std::string_view kOrder =
    "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
constexpr std::string_view kAllOnes =
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

// SelfTest holds the published answers; here they are held against a second copy of them, so that
// neither can be changed alone.
TEST(Signer, AgreesWithPublishedSignatures) {
  std::unique_ptr<Signer> signer = NewSigner();
  EXPECT_EQ(signer->SelfTest(), absl::OkStatus());
  struct {
    std::string_view key;
    std::string_view digest;  // SHA-256 of the message
    std::string_view rs;
  } vectors[] = {
      {kOne, "a0dc65ffca799873cbea0ac274015b9526505daaaed385155425f7337704883e",
       "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
       "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"},
      {kOrderLessOne, "a0dc65ffca799873cbea0ac274015b9526505daaaed385155425f7337704883e",
       "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0"
       "6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5"},
  };
  for (const auto& vector : vectors) {
    Secret<32> key = KeyFromHex(vector.key);
    Digest32 digest{};
    ASSERT_TRUE(HexDecode(vector.digest, digest));
    RecoverableSignature signature;
    ASSERT_TRUE(signer->Sign(key, *signer->DerivePublic(key), digest, &signature));
    EXPECT_EQ(HexEncode(signature.rs), vector.rs);
  }
}

TEST(Signer, TakesKeysFromOneToTheOrderLessOne) {
  std::unique_ptr<Signer> signer = NewSigner();
  for (std::string_view hex : {kOne, kOrderLessOne}) {
    Secret<32> key = KeyFromHex(hex);
    EXPECT_TRUE(signer->IsValidSecretKey(key)) << hex;
    EXPECT_TRUE(signer->DerivePublic(key).ok()) << hex;
  }
  PublicPoint some_point = *signer->DerivePublic(KeyFromHex(kOne));
  for (std::string_view hex : {kZero, kOrder, kAllOnes}) {
    Secret<32> key = KeyFromHex(hex);
    EXPECT_FALSE(signer->IsValidSecretKey(key)) << hex;
    EXPECT_EQ(signer->DerivePublic(key).status().code(), absl::StatusCode::kInvalidArgument);
    RecoverableSignature signature;
    EXPECT_FALSE(signer->Sign(key, some_point, Digest32{}, &signature)) << hex;
  }
}

// A point that is another key's stands for a key that has changed in memory since its point was
// derived.
TEST(Signer, ASignatureThatFailsItsCheckNeverLeaves) {
  for (SignatureCheck check : {SignatureCheck::kRecompute, SignatureCheck::kVerify}) {
    std::unique_ptr<Signer> signer = NewSigner(check);
    PublicPoint wrong_point = *signer->DerivePublic(KeyFromHex(kOrderLessOne));
    RecoverableSignature signature;
    signature.rs.fill(0xaa);
    signature.recovery_id = 3;
    EXPECT_FALSE(signer->Sign(KeyFromHex(kOne), wrong_point, Digest32{1}, &signature));
    EXPECT_EQ(signature, RecoverableSignature{});
  }
}

// One bit of the key, of the tag or of the point, flipped after the point was derived.
TEST(Signer, RecomputingFindsAKeyThatHasChanged) {
  const auto [signer, key, point] = NewKeyWith(SignatureCheck::kRecompute);
  RecoverableSignature signature;
  for (std::size_t bit = 0; bit < 256; ++bit) {
    Secret<32> changed = key.Duplicate();
    changed.Expose()[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(signer->Sign(changed, point, Digest32{1}, &signature)) << bit;
  }
  PublicPoint other_tag = point;
  other_tag.key_tag[15] ^= 1;
  EXPECT_FALSE(signer->Sign(key, other_tag, Digest32{1}, &signature));
  PublicPoint other_point = point;
  other_point.bytes[0] ^= 1;
  EXPECT_FALSE(signer->Sign(key, other_point, Digest32{1}, &signature));
  EXPECT_TRUE(signer->Sign(key, point, Digest32{1}, &signature));
}

// A fault in the arithmetic is a signature with other bits: each of the 512, the recovery id, and
// the signature of another digest.
TEST(Signer, VerifyingFindsEveryFlippedBit) {
  const auto [signer, key, point] = NewKeyWith(SignatureCheck::kVerify);
  const Digest32 digest{7};
  RecoverableSignature right;
  ASSERT_TRUE(signer->Sign(key, point, digest, &right));
  EXPECT_TRUE(signer->Verifies(key, point, digest, right));
  for (std::size_t bit = 0; bit < 512; ++bit) {
    RecoverableSignature wrong = right;
    wrong.rs[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(signer->Verifies(key, point, digest, wrong)) << bit;
  }
  EXPECT_FALSE(signer->Verifies(key, point, Digest32{8}, right));
  for (std::uint8_t id = 0; id < 5; ++id) {
    RecoverableSignature wrong = right;
    wrong.recovery_id = id;
    EXPECT_EQ(signer->Verifies(key, point, digest, wrong), id == right.recovery_id) << int{id};
  }
}

int NextNonce(unsigned char* nonce32, const unsigned char* msg32, const unsigned char* key32,
              const unsigned char* algo16, void* data, unsigned int attempt) {
  return secp256k1_nonce_function_default(nonce32, msg32, key32, algo16, data, attempt + 1);
}

// Valid signatures all the same, but not the ones that RFC 6979 and low s make of key and digest:
// with another nonce, which gives the key away beside the right one, and with a high s.
TEST(Signer, VerifyingRefusesAnotherNonceAndAHighS) {
  const auto [signer, key, point] = NewKeyWith(SignatureCheck::kVerify);
  const Digest32 digest{7};
  secp256k1_ecdsa_recoverable_signature other;
  secp256k1_context* context = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
  ASSERT_TRUE(secp256k1_ecdsa_sign_recoverable(context, &other, digest.data(), key.Expose().data(),
                                               NextNonce, nullptr));
  RecoverableSignature signature;
  int recovery_id = 0;
  secp256k1_ecdsa_recoverable_signature_serialize_compact(context, signature.rs.data(),
                                                          &recovery_id, &other);
  signature.recovery_id = static_cast<std::uint8_t>(recovery_id);
  EXPECT_EQ(*RecoverPublicKey(digest, signature), signer->Compress(point));
  EXPECT_FALSE(signer->Verifies(key, point, digest, signature));

  ASSERT_TRUE(signer->Sign(key, point, digest, &signature));
  EXPECT_TRUE(secp256k1_ec_seckey_negate(context, signature.rs.data() + 32));
  signature.recovery_id ^= 1;
  EXPECT_EQ(*RecoverPublicKey(digest, signature), signer->Compress(point));
  EXPECT_FALSE(signer->Verifies(key, point, digest, signature));
  secp256k1_context_destroy(context);
}

TEST(Signer, WithoutACheckTheSignaturesAreTheSame) {
  std::unique_ptr<Signer> checked = NewSigner();
  std::unique_ptr<Signer> unchecked = NewSigner(SignatureCheck::kNone);
  Secret<32> key = KeyFromHex(kOrderLessOne);
  for (std::uint8_t i = 0; i < 20; ++i) {
    RecoverableSignature a;
    RecoverableSignature b;
    ASSERT_TRUE(checked->Sign(key, *checked->DerivePublic(key), Digest32{i}, &a));
    ASSERT_TRUE(unchecked->Sign(key, PublicPoint{}, Digest32{i}, &b));
    EXPECT_EQ(a, b);
  }
}

TEST(Signer, ASeedOfAnotherLengthIsRefused) {
  for (std::size_t size : {0u, 31u, 33u}) {
    EXPECT_EQ(Signer::Create(Bytes(size)).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// 2,000 keys and digests: each signature verifies, recovers to its key, and is in the lower half
// (VerifySignature refuses the upper). The digests 0, 2^256 - 1, the
// order and the order less one are among them.
TEST(Signer, EverySignatureVerifiesAndRecoversToItsKey) {
  std::unique_ptr<Signer> signer = NewSigner();
  for (int i = 0; i < 2000; ++i) {
    const Secret<32> key = RandomKey();
    PublicPoint point = *signer->DerivePublic(key);
    PublicKey33 public_key = signer->Compress(point);
    Digest32 digest;
    FillRandom(digest);
    if (i == 0) digest.fill(0x00);
    if (i == 1) digest.fill(0xff);
    if (i == 2) {
      ASSERT_TRUE(HexDecode(kOrder, digest));
    }
    if (i == 3) {
      ASSERT_TRUE(HexDecode(kOrderLessOne, digest));
    }
    RecoverableSignature signature;
    ASSERT_TRUE(signer->Sign(key, point, digest, &signature));
    ASSERT_TRUE(VerifySignature(public_key, digest, signature.rs)) << HexEncode(digest);
    absl::StatusOr<PublicKey33> recovered = RecoverPublicKey(digest, signature);
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    ASSERT_EQ(*recovered, public_key) << HexEncode(digest);
  }
}

// Jobs over random digests.
struct Jobs {
  Jobs(std::span<const Secret<32>> keys, std::span<const PublicPoint> points, std::size_t count)
      : digests(count), jobs(count) {
    for (std::size_t i = 0; i < count; ++i) {
      FillRandom(digests[i]);
      jobs[i] = {.key = &keys[i % keys.size()],
                 .point = &points[i % points.size()],
                 .digest = &digests[i]};
    }
  }

  std::vector<Digest32> digests;
  std::vector<SigningJob> jobs;
};

// Batches of every size up to some parts, over keys and digests at the edges and random ones: bit
// by bit what the library signs one by one, and with each of the checks.
TEST(Signer, ABatchIsWhatEachWouldBeAlone) {
  std::vector<Secret<32>> keys;
  keys.push_back(KeyFromHex(kOne));
  keys.push_back(KeyFromHex(kOrderLessOne));
  while (keys.size() < 7) keys.push_back(RandomKey());
  for (SignatureCheck check :
       {SignatureCheck::kRecompute, SignatureCheck::kVerify, SignatureCheck::kNone}) {
    std::unique_ptr<Signer> signer = NewSigner(check);
    std::vector<PublicPoint> points;
    for (const Secret<32>& key : keys) points.push_back(*signer->DerivePublic(key));
    for (std::size_t count = 0; count <= 3 * Signer::kBatchMax + 1; ++count) {
      Jobs batch(keys, points, count);
      std::vector<SigningJob>& jobs = batch.jobs;
      if (count > 3) {
        batch.digests[0].fill(0x00);
        batch.digests[1].fill(0xff);
        ASSERT_TRUE(HexDecode(kOrder, batch.digests[2]));
        jobs.back() = jobs[3];  // one nonce twice
      }
      signer->SignBatch(jobs);
      for (const SigningJob& job : jobs) {
        RecoverableSignature alone;
        ASSERT_TRUE(signer->Sign(*job.key, *job.point, *job.digest, &alone));
        ASSERT_TRUE(job.is_signed) << count;
        ASSERT_EQ(job.signature, alone) << count << ' ' << HexEncode(*job.digest);
      }
    }
  }
}

// Another key's point, and keys out of range, among good ones: they get no signature, the others
// do.
TEST(Signer, ABadJobSpoilsNoneOfItsBatch) {
  for (SignatureCheck check : {SignatureCheck::kRecompute, SignatureCheck::kVerify}) {
    std::unique_ptr<Signer> signer = NewSigner(check);
    std::vector<Secret<32>> keys;
    keys.push_back(KeyFromHex(kOne));
    const std::vector<PublicPoint> points{*signer->DerivePublic(keys[0])};
    const PublicPoint wrong_point = *signer->DerivePublic(KeyFromHex(kOrderLessOne));
    for (std::string_view bad : {kZero, kOrder, kAllOnes, std::string_view()}) {
      const Secret<32> bad_key = bad.empty() ? Secret<32>() : KeyFromHex(bad);
      for (std::size_t at : {0u, 5u, 8u}) {
        Jobs batch(keys, points, 9);
        std::vector<SigningJob>& jobs = batch.jobs;
        if (bad.empty()) {
          jobs[at].point = &wrong_point;
        } else {
          jobs[at].key = &bad_key;
        }
        jobs[at].signature.rs.fill(0xaa);
        signer->SignBatch(jobs);
        for (std::size_t i = 0; i < jobs.size(); ++i) {
          EXPECT_EQ(jobs[i].is_signed, i != at) << i << ' ' << bad;
          EXPECT_EQ(jobs[i].signature == RecoverableSignature{}, i == at) << i << ' ' << bad;
        }
      }
    }
  }
}

TEST(Signer, OneServesManyThreads) {
  std::unique_ptr<Signer> signer = NewSigner();
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (std::uint8_t t = 1; t <= 4; ++t) {
    threads.emplace_back([&, t] {
      Secret<32> key;
      key.Expose()[31] = t;
      PublicPoint point = *signer->DerivePublic(key);
      for (std::uint8_t i = 0; i < 50; ++i) {
        Digest32 digest{t, i};
        RecoverableSignature signature;
        if (!signer->Sign(key, point, digest, &signature) ||
            !VerifySignature(signer->Compress(point), digest, signature.rs)) {
          ++wrong;
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace bulla
