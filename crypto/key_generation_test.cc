#include "crypto/key_generation.h"

#include <gtest/gtest.h>
#include <set>

#include "base/random.h"

namespace bulla {
namespace {

std::string MixedHex(std::uint8_t kernel, const Bytes& extra) {
  Secret<64> kernel_entropy;
  kernel_entropy.Expose()[0] = kernel;
  absl::StatusOr<Secret<32>> key = internal::MixEntropy(kernel_entropy, extra);
  EXPECT_TRUE(key.ok()) << key.status();
  return HexEncode(key->Expose());
}

// Computed with Python's hmac: HMAC-SHA-512 under 64 zero bytes of the label and 32 zero bytes.
TEST(KeyGeneration, MixIsTheDocumentedHmac) {
  EXPECT_EQ(MixedHex(0, Bytes(32)),
            "9247e429cf23079fa8699c92031bc926973dc74352947d20559c80be4b13b494");
}

TEST(KeyGeneration, EitherSourceAloneChangesTheKey) {
  std::set<std::string> keys;
  for (std::uint8_t i = 0; i < 100; ++i) {
    keys.insert(MixedHex(i, Bytes(32)));
    Bytes extra(32);
    extra[31] = static_cast<std::uint8_t>(i + 1);
    keys.insert(MixedHex(0, extra));
    keys.insert(MixedHex(0, Bytes(std::size_t{33} + i)));  // its length counts too
  }
  EXPECT_EQ(keys.size(), 300u);
}

TEST(KeyGeneration, KeysAreValidAndNeverTheSame) {
  std::unique_ptr<Signer> signer = *Signer::Create(Bytes(Signer::kSeedBytes));
  std::set<std::string> keys;
  for (int i = 0; i < 100; ++i) {
    absl::StatusOr<Secret<32>> key = GenerateSecretKey(*signer, Bytes(kExtraEntropyBytesMin));
    ASSERT_TRUE(key.ok()) << key.status();
    EXPECT_TRUE(signer->IsValidSecretKey(*key));
    keys.insert(HexEncode(key->Expose()));
  }
  EXPECT_EQ(keys.size(), 100u) << "the second source stood still, the first must not";
}

TEST(KeyGeneration, ASecondSourceThatRanDryIsAnError) {
  std::unique_ptr<Signer> signer = *Signer::Create(Bytes(Signer::kSeedBytes));
  for (std::size_t size : {std::size_t{0}, kExtraEntropyBytesMin - 1, kExtraEntropyBytesMax + 1}) {
    EXPECT_EQ(GenerateSecretKey(*signer, Bytes(size)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
  EXPECT_TRUE(GenerateSecretKey(*signer, Bytes(kExtraEntropyBytesMax)).ok());
}

}  // namespace
}  // namespace bulla
