#include "crypto/secret.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <type_traits>
#include <utility>

namespace bulla {
namespace {

static_assert(!std::is_copy_constructible_v<Secret<32>>);
static_assert(!std::is_copy_assignable_v<Secret<32>>);

bool IsZero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

Secret<32> Filled(std::uint8_t byte) {
  Secret<32> secret;
  std::fill(secret.Expose().begin(), secret.Expose().end(), byte);
  return secret;
}

TEST(Secret, MovingLeavesNothingBehind) {
  Secret<32> from = Filled(7);
  Secret<32> to = std::move(from);
  EXPECT_TRUE(IsZero(from.Expose()));  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_TRUE(ConstantTimeEquals(to.Expose(), Filled(7).Expose()));
}

TEST(Secret, DestructionWipes) {
  alignas(Secret<32>) std::uint8_t memory[sizeof(Secret<32>)];
  auto* secret = new (memory) Secret<32>(Filled(7));
  secret->~Secret();
  EXPECT_TRUE(IsZero(memory));
}

TEST(Secret, EqualityLooksAtEveryByteAndAtTheLength) {
  for (std::size_t i = 0; i < 32; ++i) {
    Secret<32> changed = Filled(7);
    changed.Expose()[i] ^= 1;
    EXPECT_FALSE(ConstantTimeEquals(changed.Expose(), Filled(7).Expose())) << i;
  }
  EXPECT_FALSE(ConstantTimeEquals(Filled(7).Expose().first(31), Filled(7).Expose()));
}

}  // namespace
}  // namespace bulla
