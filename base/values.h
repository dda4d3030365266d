#pragma once

// The public, fixed-size values that pass between rooms. None of them is secret.

#include "base/bytes.h"

namespace bulla {

using Digest32 = ByteArray<32>;     // what is signed
using PublicKey33 = ByteArray<33>;  // compressed secp256k1 point (SEC 1, section 2.3.3)
using Address20 = ByteArray<20>;    // Ethereum address: last 20 bytes of Keccak-256 of the point

// An ECDSA signature with the number that tells which of the points it recovers to.
struct RecoverableSignature {
  ByteArray<64> rs{};            // r || s, each 32 bytes big-endian, s in the lower half
  std::uint8_t recovery_id = 0;  // 0..3

  friend bool operator==(const RecoverableSignature&, const RecoverableSignature&) = default;
};

}  // namespace bulla
