#pragma once

// The deterministic nonce of RFC 6979 with SHA-256, as libsecp256k1 computes it (section 3.2, with
// no extra data), but with OpenSSL's SHA-256, which uses the processor's SHA instructions where
// there are some: a fifth of a signature's time goes into this otherwise.

#include "base/bytes.h"

namespace bulla {

// A secp256k1_nonce_function. Gives the same nonces as secp256k1_nonce_function_rfc6979 of version
// 0.5.0 for the same arguments, bit by bit; a test compares them. (Versions before do not reduce a
// digest that is not below the group's order, as the RFC wants it; one in 2^128 is not.) Requires:
// `algo16` and `data` are null, as for plain ECDSA.
int Rfc6979Nonce(unsigned char* nonce32, const unsigned char* msg32, const unsigned char* key32,
                 const unsigned char* algo16, void* data, unsigned int attempt);

// A digest, 32 bytes, modulo the order of the group (bits2octets, section 2.3.4). It takes as long
// as it takes: no secret, please.
ByteArray<32> ReducedVarTime(ByteSpan digest);

}  // namespace bulla
