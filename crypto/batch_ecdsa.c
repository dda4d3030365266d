// Each nonce's point is a sum of 44 points of a table, and so is each of a batch. All sums are
// taken as binary trees, level by level, and all additions of one level share one inversion
// (Montgomery's trick). That makes affine addition, 6 multiplications, affordable where the
// library's complete formula takes 12. The nonces' inverses share one inversion as well.
//
// Affine addition has no answer where both x are equal. Here that cannot be: the points of one tree
// stand for sums of +-2^i over separate ranges of i, so two of them are different numbers, of
// different size, and less than the order of the group, but for the topmost additions, where it
// takes one certain nonce, or a certain blinding. It is looked for all the same.

#include "crypto/batch_ecdsa.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// From the library's source, by scripts/engine, in the order in which they need each other.
// clang-format off
#include <checkmem.h>
#include <util.h>
#include <hash_impl.h>
#include <int128_impl.h>
#include <field_impl.h>
#include <scalar_impl.h>
#include <group_impl.h>
#include <ecmult_gen_impl.h>
// clang-format on

#if COMB_SPACING != 1
#error "the table is one for additions only: see crypto/CMakeLists.txt"
#endif

enum {
  kTables = COMB_BLOCKS,
  kLeaves = kTables + 1,  // and the point that takes the blinding out again
  kPairsMax = kLeaves / 2,
  kDigitWords = COMB_BITS / 64 + 1,
};

struct BatchEcdsaBlinding {
  secp256k1_ecmult_gen_context context;
};

typedef struct {
  secp256k1_fe x;  // of magnitude 1, as y
  secp256k1_fe y;
} Point;

// All of it secret: it tells about nonces.
typedef struct {
  secp256k1_scalar key[kBatchEcdsaMax];
  secp256k1_scalar message[kBatchEcdsaMax];
  secp256k1_scalar nonce[kBatchEcdsaMax];
  secp256k1_scalar nonce_inverse[kBatchEcdsaMax];
  uint64_t digits[kBatchEcdsaMax][kDigitWords];
  secp256k1_fe products[kPairsMax * kBatchEcdsaMax];
  Point points[kLeaves * kBatchEcdsaMax];  // of statement i: [i], [count + i], [2 * count + i] ...
} Work;

static uint64_t AllOnesIf(int condition) {
  uint64_t mask = (uint64_t)0 - (uint64_t)(condition & 1);
  __asm__("" : "+r"(mask));  // so that no compiler makes a branch of it
  return mask;
}

// The point that `digit`, secret, stands for in a table. Reads all of the table.
static void LookUp(Point* out, const secp256k1_ge_storage table[COMB_POINTS], uint32_t digit) {
  typedef uint64_t Vector __attribute__((vector_size(16)));
  enum { kVectors = sizeof(secp256k1_ge_storage) / sizeof(Vector) };
  const uint32_t negative = (digit >> (COMB_TEETH - 1)) & 1;
  const uint32_t wanted = (digit ^ (0 - negative)) & (COMB_POINTS - 1);
  Vector found[kVectors] = {{0}};
  for (uint32_t i = 0; i < COMB_POINTS; ++i) {
    const uint64_t mask = AllOnesIf((int)(((i ^ wanted) - 1) >> 31));
    const Vector masks = {mask, mask};
    Vector entry[kVectors];
    memcpy(entry, &table[i], sizeof entry);
    for (int j = 0; j < kVectors; ++j) found[j] |= entry[j] & masks;
  }
  secp256k1_ge_storage stored;
  memcpy(&stored, found, sizeof stored);
  secp256k1_fe minus_y;
  secp256k1_fe_from_storage(&out->x, &stored.x);
  secp256k1_fe_from_storage(&out->y, &stored.y);
  secp256k1_fe_negate(&minus_y, &out->y, 1);
  secp256k1_fe_cmov(&out->y, &minus_y, (int)negative);
  secp256k1_fe_normalize_weak(&out->y);
}

// a - b; b of magnitude 1.
static void Subtract(secp256k1_fe* out, const secp256k1_fe* a, const secp256k1_fe* b) {
  secp256k1_fe_negate(out, b, 1);
  secp256k1_fe_add(out, a);
}

// a += b, given 1 / (b.x - a.x).
static void Add(Point* a, const Point* b, const secp256k1_fe* inverse) {
  secp256k1_fe slope;
  secp256k1_fe x;
  secp256k1_fe y;
  secp256k1_fe t;
  Subtract(&t, &b->y, &a->y);
  secp256k1_fe_mul(&slope, &t, inverse);
  t = a->x;
  secp256k1_fe_add(&t, &b->x);
  secp256k1_fe_negate(&t, &t, 2);
  secp256k1_fe_sqr(&x, &slope);
  secp256k1_fe_add(&x, &t);
  secp256k1_fe_normalize_weak(&x);
  Subtract(&t, &a->x, &x);
  secp256k1_fe_mul(&y, &slope, &t);
  secp256k1_fe_negate(&t, &a->y, 1);
  secp256k1_fe_add(&y, &t);
  secp256k1_fe_normalize_weak(&y);
  a->x = x;
  a->y = y;
}

// One level of all trees: adds to each leaf whose number is a multiple of 2 * `distance` the one
// that far away. 0 when an addition has no answer.
static int AddPairs(Work* work, size_t count, size_t distance) {
  const size_t step = 2 * distance;
  const size_t pairs = (kLeaves - distance + step - 1) / step;
  secp256k1_fe difference;
  secp256k1_fe product = secp256k1_fe_one;
  secp256k1_fe* next = work->products;
  for (size_t pair = 0; pair < pairs; ++pair) {
    const Point* a = &work->points[pair * step * count];
    const Point* b = a + distance * count;
    for (size_t i = 0; i < count; ++i) {
      Subtract(&difference, &b[i].x, &a[i].x);
      *next++ = product;
      secp256k1_fe_mul(&product, &product, &difference);
    }
  }
  int impossible = secp256k1_fe_normalizes_to_zero(&product);
  SECP256K1_CHECKMEM_DEFINE(&impossible, sizeof impossible);  // known: that it is not
  if (impossible) return 0;
  secp256k1_fe rest;
  secp256k1_fe inverse;
  secp256k1_fe_inv(&rest, &product);
  for (size_t pair = pairs; pair-- > 0;) {
    Point* a = &work->points[pair * step * count];
    const Point* b = a + distance * count;
    for (size_t i = count; i-- > 0;) {
      Subtract(&difference, &b[i].x, &a[i].x);
      secp256k1_fe_mul(&inverse, &rest, --next);
      secp256k1_fe_mul(&rest, &rest, &difference);
      Add(&a[i], &b[i], &inverse);
    }
  }
  return 1;
}

// The nonces' points, as points[0 .. count).
static int MultiplyGenerator(const BatchEcdsaStatement* statements, Work* work, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    secp256k1_scalar blinded;
    secp256k1_scalar_add(&blinded, &statements[i].blinding->context.scalar_offset, &work->nonce[i]);
    for (unsigned word = 0; word < kDigitWords - 1; ++word) {
      work->digits[i][word] =
          secp256k1_scalar_get_bits_limb32(&blinded, 64 * word, 32) |
          (uint64_t)secp256k1_scalar_get_bits_limb32(&blinded, 64 * word + 32, 32) << 32;
    }
    work->digits[i][kDigitWords - 1] = 0;
    secp256k1_scalar_clear(&blinded);
  }
  for (size_t table = 0; table < kTables; ++table) {
    const size_t bit = table * COMB_TEETH;
    const size_t word = bit / 64;
    const size_t shift = bit % 64;
    for (size_t i = 0; i < count; ++i) {
      uint64_t digit = work->digits[i][word] >> shift;
      if (shift + COMB_TEETH > 64) digit |= work->digits[i][word + 1] << (64 - shift);
      LookUp(&work->points[table * count + i], secp256k1_ecmult_gen_prec_table[table],
             (uint32_t)digit & ((1u << COMB_TEETH) - 1));
    }
  }
  for (size_t i = 0; i < count; ++i) {
    Point* last = &work->points[kTables * count + i];
    last->x = statements[i].blinding->context.ge_offset.x;
    last->y = statements[i].blinding->context.ge_offset.y;
  }
  for (size_t distance = 1; distance < kLeaves; distance *= 2) {
    if (!AddPairs(work, count, distance)) return 0;
  }
  return 1;
}

static void InvertNonces(Work* work, size_t count) {
  secp256k1_scalar rest;
  work->nonce_inverse[0] = secp256k1_scalar_one;
  for (size_t i = 1; i < count; ++i) {
    secp256k1_scalar_mul(&work->nonce_inverse[i], &work->nonce_inverse[i - 1], &work->nonce[i - 1]);
  }
  secp256k1_scalar_mul(&rest, &work->nonce_inverse[count - 1], &work->nonce[count - 1]);
  secp256k1_scalar_inverse(&rest, &rest);
  for (size_t i = count; i-- > 0;) {
    secp256k1_scalar_mul(&work->nonce_inverse[i], &work->nonce_inverse[i], &rest);
    secp256k1_scalar_mul(&rest, &rest, &work->nonce[i]);
  }
  secp256k1_scalar_clear(&rest);
}

// Key, digest and nonce as numbers. A key or nonce out of range is replaced by one, which is as
// good as any: the statement is not signed then.
static void Read(Work* work, size_t i, BatchEcdsaStatement* statement) {
  const int key_valid = secp256k1_scalar_set_b32_seckey(&work->key[i], statement->key32);
  const int nonce_valid = secp256k1_scalar_set_b32_seckey(&work->nonce[i], statement->nonce32);
  secp256k1_scalar_cmov(&work->key[i], &secp256k1_scalar_one, !key_valid);
  secp256k1_scalar_cmov(&work->nonce[i], &secp256k1_scalar_one, !nonce_valid);
  secp256k1_scalar_set_b32(&work->message[i], statement->digest32, NULL);
  secp256k1_scalar_cond_negate(&work->key[i], statement->negated);
  secp256k1_scalar_cond_negate(&work->nonce[i], statement->negated);
  secp256k1_scalar_cond_negate(&work->message[i], statement->negated);
  statement->is_signed = key_valid & nonce_valid;
}

// s = (message + r * key) / nonce, or its negative where that is lower.
static void Finish(Work* work, size_t i, BatchEcdsaStatement* statement) {
  Point* point = &work->points[i];
  secp256k1_scalar r;
  secp256k1_scalar s;
  unsigned char x[32];
  int overflow = 0;
  secp256k1_fe_normalize(&point->x);
  secp256k1_fe_normalize(&point->y);
  secp256k1_fe_get_b32(x, &point->x);
  secp256k1_scalar_set_b32(&r, x, &overflow);
  secp256k1_scalar_mul(&s, &r, &work->key[i]);
  secp256k1_scalar_add(&s, &s, &work->message[i]);
  secp256k1_scalar_mul(&s, &s, &work->nonce_inverse[i]);
  const int high = secp256k1_scalar_is_high(&s);
  secp256k1_scalar_cond_negate(&s, high);
  statement->recovery_id = ((overflow << 1) | secp256k1_fe_is_odd(&point->y)) ^ high;
  // Not `&&`, which would be a branch.
  statement->is_signed &= (int)!secp256k1_scalar_is_zero(&r) & (int)!secp256k1_scalar_is_zero(&s);
  const int refused = !statement->is_signed;
  secp256k1_scalar_cmov(&r, &secp256k1_scalar_zero, refused);
  secp256k1_scalar_cmov(&s, &secp256k1_scalar_zero, refused);
  secp256k1_scalar_get_b32(statement->rs64, &r);
  secp256k1_scalar_get_b32(statement->rs64 + 32, &s);
  explicit_bzero(x, sizeof x);
}

BatchEcdsaBlinding* BatchEcdsaBlindingCreate(const unsigned char* seed32) {
  BatchEcdsaBlinding* blinding = calloc(1, sizeof *blinding);
  if (blinding == NULL) return NULL;
  secp256k1_ecmult_gen_context_build(&blinding->context);
  secp256k1_ecmult_gen_blind(&blinding->context, seed32);
  secp256k1_fe_normalize(&blinding->context.ge_offset.x);
  secp256k1_fe_normalize(&blinding->context.ge_offset.y);
  return blinding;
}

void BatchEcdsaBlindingDestroy(BatchEcdsaBlinding* blinding) {
  if (blinding == NULL) return;
  explicit_bzero(blinding, sizeof *blinding);
  free(blinding);
}

int BatchEcdsaSign(BatchEcdsaStatement* statements, size_t count) {
  if (count < 1 || count > kBatchEcdsaMax) return 0;
  Work work;
  for (size_t i = 0; i < count; ++i) Read(&work, i, &statements[i]);
  const int done = MultiplyGenerator(statements, &work, count);
  if (done) InvertNonces(&work, count);
  for (size_t i = 0; i < count; ++i) {
    if (done) {
      Finish(&work, i, &statements[i]);
    } else {
      statements[i].is_signed = 0;
      memset(statements[i].rs64, 0, 64);
    }
  }
  // Up to the last point that this many statements have used.
  explicit_bzero(&work, offsetof(Work, points) + kLeaves * count * sizeof(Point));
  return done;
}
