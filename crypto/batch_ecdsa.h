#pragma once

// ECDSA over secp256k1 for several statements at a time, on top of libsecp256k1's own field, group
// and scalar arithmetic: bit for bit what the library signs, in half the time. How: ADR 11.
//
// C, because the library's internals are. Only crypto/signer includes this; where the library is
// the installed one (no internals to build on) nothing of it exists, and the signer signs one by
// one.

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { kBatchEcdsaMax = 32 };  // statements at a time; half as many do nearly as well

// Randomness that blinds the multiplications, as secp256k1_context_randomize's. Constant once made.
typedef struct BatchEcdsaBlinding BatchEcdsaBlinding;

// Null when there is no memory. 32 random bytes.
BatchEcdsaBlinding* BatchEcdsaBlindingCreate(const unsigned char* seed32);
// Wipes it. Takes null.
void BatchEcdsaBlindingDestroy(BatchEcdsaBlinding* blinding);

typedef struct {
  const unsigned char* key32;
  const unsigned char* digest32;
  const unsigned char* nonce32;
  unsigned char* rs64;  // out: low s; all zero where there is no signature
  int recovery_id;      // out
  // Out: 0 when key or nonce is not in 1 .. n-1, when r or s came out as zero, and when a fault has
  // left the nonce's point off the curve or s without s * nonce = digest + r * key.
  int is_signed;
} BatchEcdsaStatement;

// Statements that are computed alike, and share one inversion of their nonces.
typedef struct {
  const BatchEcdsaBlinding* blinding;
  // Whether to compute with the negatives of key, digest and nonce: the same r and s by other
  // operands, and the other recovery id.
  int negated;
  // 32 random bytes, new each time: the factor that the nonces' inversion is blinded with.
  const unsigned char* random32;
  size_t count;
} BatchEcdsaComputation;

// Signs the statements of one computation or two, which follow each other in `statements`: 1 to
// kBatchEcdsaMax in all. Thread-safe. Takes the same time whatever keys and nonces are, and wipes
// what it has computed with. 0, and nothing is signed, when two points to be added had one x: a
// fault of the machine, or a chance of less than 2^-240.
int BatchEcdsaSign(const BatchEcdsaComputation* computations, size_t computations_count,
                   BatchEcdsaStatement* statements);

#ifdef __cplusplus
}
#endif
