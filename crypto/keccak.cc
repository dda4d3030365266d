#include "crypto/keccak.h"

#include <bit>

namespace bulla {
namespace {

// "The Keccak reference", version 3.0, sections 1.1 to 1.2: a state of 5 x 5 lanes of 64 bits, lane
// (x, y) at x + 5 y, and 24 rounds of five steps.
using State = std::array<std::uint64_t, 25>;

constexpr std::size_t kRounds = 24;
constexpr std::size_t kRateBytes = 136;  // 1600 bits less twice the 256 of the digest

// The round constants' bits come from an LFSR over x^8 + x^6 + x^5 + x^4 + 1.
constexpr std::array<std::uint64_t, kRounds> MakeRoundConstants() {
  std::array<std::uint64_t, kRounds> constants{};
  unsigned lfsr = 1;
  for (std::uint64_t& constant : constants) {
    for (int j = 0; j <= 6; ++j) {
      if (lfsr & 1) constant |= std::uint64_t{1} << ((1 << j) - 1);
      lfsr = lfsr << 1 ^ (lfsr & 0x80 ? 0x171u : 0u);
    }
  }
  return constants;
}
constexpr std::array<std::uint64_t, kRounds> kRoundConstants = MakeRoundConstants();

void Theta(State& a) {
  std::array<std::uint64_t, 5> parity;
  for (std::size_t x = 0; x < 5; ++x) {
    parity[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
  }
  for (std::size_t x = 0; x < 5; ++x) {
    std::uint64_t change = parity[(x + 4) % 5] ^ std::rotl(parity[(x + 1) % 5], 1);
    for (std::size_t y = 0; y < 5; ++y) a[x + 5 * y] ^= change;
  }
}

// Rho (rotate each lane) and pi (move it) walk the same path through the lanes, so they go
// together.
void RhoPi(State& a) {
  std::size_t x = 1;
  std::size_t y = 0;
  std::uint64_t moving = a[1];
  for (int t = 0; t < 24; ++t) {
    std::size_t next_y = (2 * x + 3 * y) % 5;
    x = y;
    y = next_y;
    std::uint64_t displaced = a[x + 5 * y];
    a[x + 5 * y] = std::rotl(moving, (t + 1) * (t + 2) / 2 % 64);
    moving = displaced;
  }
}

void Chi(State& a) {
  for (std::size_t row = 0; row < 25; row += 5) {
    std::array<std::uint64_t, 5> old;
    for (std::size_t x = 0; x < 5; ++x) old[x] = a[row + x];
    for (std::size_t x = 0; x < 5; ++x)
      a[row + x] = old[x] ^ (~old[(x + 1) % 5] & old[(x + 2) % 5]);
  }
}

void Permute(State& a) {
  for (std::uint64_t constant : kRoundConstants) {
    Theta(a);
    RhoPi(a);
    Chi(a);
    a[0] ^= constant;  // iota
  }
}

// Lanes are little-endian.
void XorByte(State& a, std::size_t at, std::uint8_t byte) {
  a[at / 8] ^= std::uint64_t{byte} << (8 * (at % 8));
}

}  // namespace

ByteArray<32> Keccak256(ByteSpan message) {
  State state{};
  while (message.size() >= kRateBytes) {
    for (std::size_t i = 0; i < kRateBytes; ++i) XorByte(state, i, message[i]);
    Permute(state);
    message = message.subspan(kRateBytes);
  }
  for (std::size_t i = 0; i < message.size(); ++i) XorByte(state, i, message[i]);
  XorByte(state, message.size(), 0x01);  // where SHA-3 has 0x06
  XorByte(state, kRateBytes - 1, 0x80);
  Permute(state);

  ByteArray<32> digest;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(state[i / 8] >> (8 * (i % 8)));
  }
  return digest;
}

}  // namespace bulla
