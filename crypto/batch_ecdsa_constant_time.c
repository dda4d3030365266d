// Run under valgrind: keys and nonces are marked as undefined, so that any jump and any address
// that depends on one of them is an error. The library tests itself in the same way.

#include <valgrind/memcheck.h>

#include <stdio.h>
#include <string.h>

#include "crypto/batch_ecdsa.h"

int main(void) {
  if (!RUNNING_ON_VALGRIND) {
    fputs("this says something under valgrind only: valgrind --error-exitcode=1 PROGRAM\n", stderr);
    return 2;
  }
  unsigned char seed[32] = {1};
  unsigned char keys[kBatchEcdsaMax][32];
  unsigned char digests[kBatchEcdsaMax][32];
  unsigned char nonces[kBatchEcdsaMax][32];
  unsigned char rs[kBatchEcdsaMax][64];
  BatchEcdsaStatement statements[kBatchEcdsaMax];
  BatchEcdsaBlinding* blinding = BatchEcdsaBlindingCreate(seed);
  if (blinding == NULL) return 2;
  for (int i = 0; i < kBatchEcdsaMax; ++i) {
    memset(keys[i], 3 * i + 1, 32);
    memset(digests[i], 5 * i + 2, 32);
    memset(nonces[i], 7 * i + 3, 32);
    VALGRIND_MAKE_MEM_UNDEFINED(keys[i], 32);
    VALGRIND_MAKE_MEM_UNDEFINED(nonces[i], 32);
    statements[i] = (BatchEcdsaStatement){keys[i], digests[i], nonces[i], rs[i], 0, 0};
  }
  unsigned char random[32];
  memset(random, 11, sizeof random);
  VALGRIND_MAKE_MEM_UNDEFINED(random, sizeof random);
  for (size_t half = 1; half <= kBatchEcdsaMax / 2; half *= 2) {
    const BatchEcdsaComputation computations[] = {{blinding, 0, random, half},
                                                  {blinding, 1, random, half}};
    if (!BatchEcdsaSign(computations, 2, statements)) return 2;
  }
  BatchEcdsaBlindingDestroy(blinding);
  return 0;
}
