#pragma once

// Ethereum addresses: the last 20 bytes of Keccak-256 of a public point's two coordinates, written
// with the checksum in the case of the letters that EIP-55 defines. No secrets.

#include <string>

#include "base/status.h"
#include "base/values.h"

namespace bulla {

// Of a point given as its coordinates, x || y, each 32 bytes big-endian (SEC 1 uncompressed form
// without its 0x04). The point is not checked to be on the curve.
Address20 AddressOf(const ByteArray<64>& coordinates);

// INVALID_ARGUMENT when the bytes are no point of the curve.
absl::StatusOr<Address20> AddressOf(const PublicKey33& public_key);

// "0x" and 40 hexadecimal digits, in the mixed case of EIP-55.
std::string ToEip55(const Address20& address);

}  // namespace bulla
