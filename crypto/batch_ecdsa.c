// Each nonce's point is a sum of 44 points of a table, and so is each of a batch. All sums are
// taken as binary trees, level by level, and all additions of one level share one inversion
// (Montgomery's trick). That makes affine addition, 6 multiplications, affordable where the
// library's complete formula takes 12. The nonces of one computation share one inversion as well,
// and of two computations none: a fault in it would go unseen if both had the same wrong inverses.
//
// Affine addition has no answer where both x are equal. Here that cannot be: the points of one tree
// stand for sums of +-2^i over separate ranges of i, so two of them are different numbers, of
// different size, and less than the order of the group, but for the topmost additions, where it
// takes one certain nonce, or a certain blinding. It is looked for all the same.

#include "crypto/batch_ecdsa.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/fault_points.h"
#include "crypto/stack_wipe.h"

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

// What one statement is computed with.
typedef struct {
  secp256k1_scalar key;
  secp256k1_scalar message;
  secp256k1_scalar nonce;
  secp256k1_scalar nonce_inverse;
  uint64_t digits[kDigitWords];
} Numbers;

// All of it secret: it tells about nonces.
typedef struct {
  Numbers numbers[kBatchEcdsaMax];
  // Products() and Points() of as many statements as there are: the fewer, the less is to be wiped.
  secp256k1_fe room[(kPairsMax + 2 * kLeaves) * kBatchEcdsaMax];
} Work;

static size_t RoomUsed(size_t count) { return (kPairsMax + 2 * kLeaves) * count; }

static secp256k1_fe* Products(Work* work) { return work->room; }

// Of statement i: [i], [count + i], [2 * count + i] ...
static Point* Points(Work* work, size_t count) {
  _Static_assert(sizeof(Point) == 2 * sizeof(secp256k1_fe), "a point is two numbers of the room");
  return (Point*)(void*)(work->room + kPairsMax * count);
}

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

// a - b; b of magnitude 1. `out` is neither.
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
  secp256k1_fe* next = Products(work);
  Point* const points = Points(work, count);
  BULLA_FAULT_LIVE("product of a level", &product, sizeof product);
  for (size_t pair = 0; pair < pairs; ++pair) {
    const Point* a = &points[pair * step * count];
    const Point* b = a + distance * count;
    for (size_t i = 0; i < count; ++i) {
      Subtract(&difference, &b[i].x, &a[i].x);
      *next++ = product;
      secp256k1_fe_mul(&product, &product, &difference);
    }
    if (pair == pairs / 2) BULLA_FAULT_STAGE("half of a level's products");
  }
  BULLA_FAULT_STAGE("a level's products");
  int impossible = secp256k1_fe_normalizes_to_zero(&product);
  SECP256K1_CHECKMEM_DEFINE(&impossible, sizeof impossible);  // known: that it is not
  BULLA_FAULT_GONE(&product);
  if (impossible) return 0;
  secp256k1_fe rest;
  secp256k1_fe inverse;
  secp256k1_fe_inv(&rest, &product);
  BULLA_FAULT_LIVE("inverse of a level", &rest, sizeof rest);
  BULLA_FAULT_STAGE("a level's inverse");
  for (size_t pair = pairs; pair-- > 0;) {
    Point* a = &points[pair * step * count];
    const Point* b = a + distance * count;
    for (size_t i = count; i-- > 0;) {
      Subtract(&difference, &b[i].x, &a[i].x);
      secp256k1_fe_mul(&inverse, &rest, --next);
      secp256k1_fe_mul(&rest, &rest, &difference);
      Add(&a[i], &b[i], &inverse);
    }
    if (pair == pairs / 2) BULLA_FAULT_STAGE("half of a level's sums");
  }
  BULLA_FAULT_STAGE("a level's sums");
  BULLA_FAULT_GONE(&rest);
  return 1;
}

// The nonces' points, as points[0 .. count).
static int MultiplyGenerator(const BatchEcdsaComputation* computations, size_t computations_count,
                             Work* work, size_t count) {
  Numbers* numbers = work->numbers;
  Point* const points = Points(work, count);
  Point* last = points + kTables * count;
  for (size_t c = 0; c < computations_count; ++c) {
    const secp256k1_ecmult_gen_context* context = &computations[c].blinding->context;
    for (size_t i = 0; i < computations[c].count; ++i, ++numbers, ++last) {
      secp256k1_scalar blinded;
      secp256k1_scalar_add(&blinded, &context->scalar_offset, &numbers->nonce);
      for (unsigned word = 0; word < kDigitWords - 1; ++word) {
        numbers->digits[word] =
            secp256k1_scalar_get_bits_limb32(&blinded, 64 * word, 32) |
            (uint64_t)secp256k1_scalar_get_bits_limb32(&blinded, 64 * word + 32, 32) << 32;
      }
      numbers->digits[kDigitWords - 1] = 0;
      secp256k1_scalar_clear(&blinded);
      last->x = context->ge_offset.x;
      last->y = context->ge_offset.y;
    }
  }
  BULLA_FAULT_STAGE("digits");
  for (size_t table = 0; table < kTables; ++table) {
    const size_t bit = table * COMB_TEETH;
    const size_t word = bit / 64;
    const size_t shift = bit % 64;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t* const digits = work->numbers[i].digits;
      uint64_t digit = digits[word] >> shift;
      if (shift + COMB_TEETH > 64) digit |= digits[word + 1] << (64 - shift);
      LookUp(&points[table * count + i], secp256k1_ecmult_gen_prec_table[table],
             (uint32_t)digit & ((1u << COMB_TEETH) - 1));
    }
    if (table == kTables / 2) BULLA_FAULT_STAGE("half of the look-ups");
  }
  BULLA_FAULT_STAGE("look-ups");
  for (size_t distance = 1; distance < kLeaves; distance *= 2) {
    if (!AddPairs(work, count, distance)) return 0;
  }
  return 1;
}

// What `bytes32` stands for; one, which is as good as any, where that is not in 1 .. n-1.
static int ReadScalar(secp256k1_scalar* out, const unsigned char* bytes32) {
  const int is_valid = secp256k1_scalar_set_b32_seckey(out, bytes32);
  secp256k1_scalar_cmov(out, &secp256k1_scalar_one, !is_valid);
  return is_valid;
}

// Of one computation: the inverses of its nonces, by one inversion that is blinded with `random32`.
static void InvertNonces(Numbers* numbers, size_t count, const unsigned char* random32) {
  secp256k1_scalar first;
  secp256k1_scalar rest;
  ReadScalar(&first, random32);
  BULLA_FAULT_LIVE("blinding of the nonces' inversion", &first, sizeof first);
  BULLA_FAULT_LIVE("chain of the nonces' inversion", &rest, sizeof rest);
  rest = first;
  for (size_t i = 0; i < count; ++i) {
    numbers[i].nonce_inverse = rest;
    secp256k1_scalar_mul(&rest, &rest, &numbers[i].nonce);
    if (i == count / 2) BULLA_FAULT_STAGE("half of the nonces' products");
  }
  BULLA_FAULT_STAGE("the nonces' products");
  secp256k1_scalar_inverse(&rest, &rest);
  BULLA_FAULT_STAGE("the inverse of the nonces' product");
  for (size_t i = count; i-- > 0;) {
    secp256k1_scalar_mul(&numbers[i].nonce_inverse, &numbers[i].nonce_inverse, &rest);
    secp256k1_scalar_mul(&rest, &rest, &numbers[i].nonce);
    if (i == count / 2) BULLA_FAULT_STAGE("half of the nonces' inverses");
  }
  BULLA_FAULT_STAGE("the nonces' inverses");
  BULLA_FAULT_GONE(&first);
  BULLA_FAULT_GONE(&rest);
  secp256k1_scalar_clear(&first);
  secp256k1_scalar_clear(&rest);
}

// Key, digest and nonce as numbers. Where key or nonce is out of range, the statement is not
// signed.
static void Read(Numbers* numbers, BatchEcdsaStatement* statement, int negated) {
  const int key_valid = ReadScalar(&numbers->key, statement->key32);
  const int nonce_valid = ReadScalar(&numbers->nonce, statement->nonce32);
  secp256k1_scalar_set_b32(&numbers->message, statement->digest32, NULL);
  secp256k1_scalar_cond_negate(&numbers->key, negated);
  secp256k1_scalar_cond_negate(&numbers->nonce, negated);
  secp256k1_scalar_cond_negate(&numbers->message, negated);
  statement->is_signed = key_valid & nonce_valid;
}

// y^2 = x^3 + 7. Both normalised. A sum with a point off the curve in it, such as a damaged
// table's, or with a wrong inverse, is off the curve as well.
static int IsOnCurve(const Point* point) {
  secp256k1_fe left;
  secp256k1_fe right;
  secp256k1_fe difference;
  secp256k1_fe_sqr(&left, &point->y);
  secp256k1_fe_sqr(&right, &point->x);
  secp256k1_fe_mul(&right, &right, &point->x);
  secp256k1_fe_add_int(&right, SECP256K1_B);
  Subtract(&difference, &right, &left);
  return secp256k1_fe_normalizes_to_zero(&difference);
}

// s = (message + r * key) / nonce, or its negative where that is lower.
static void Finish(const Numbers* numbers, Point* point, BatchEcdsaStatement* statement) {
  secp256k1_scalar r;
  secp256k1_scalar sum;
  secp256k1_scalar s;
  secp256k1_scalar difference;
  unsigned char x[32];
  int overflow = 0;
  secp256k1_fe_normalize(&point->x);
  secp256k1_fe_normalize(&point->y);
  secp256k1_fe_get_b32(x, &point->x);
  secp256k1_scalar_set_b32(&r, x, &overflow);
  BULLA_FAULT_LIVE("x of the nonce's point", x, sizeof x);
  BULLA_FAULT_LIVE("r", &r, sizeof r);
  BULLA_FAULT_LIVE("message + r * key", &sum, sizeof sum);
  BULLA_FAULT_LIVE("s", &s, sizeof s);
  BULLA_FAULT_STAGE("r");
  secp256k1_scalar_mul(&sum, &r, &numbers->key);
  secp256k1_scalar_add(&sum, &sum, &numbers->message);
  BULLA_FAULT_STAGE("message + r * key");
  secp256k1_scalar_mul(&s, &sum, &numbers->nonce_inverse);
  BULLA_FAULT_STAGE("s");
  secp256k1_scalar_mul(&difference, &s, &numbers->nonce);
  secp256k1_scalar_negate(&difference, &difference);
  secp256k1_scalar_add(&difference, &difference, &sum);
  const int holds = IsOnCurve(point) & (int)secp256k1_scalar_is_zero(&difference);
  const int high = secp256k1_scalar_is_high(&s);
  secp256k1_scalar_cond_negate(&s, high);
  BULLA_FAULT_STAGE("low s");
  statement->recovery_id = ((overflow << 1) | secp256k1_fe_is_odd(&point->y)) ^ high;
  // Not `&&`, which would be a branch.
  statement->is_signed &=
      holds & (int)!secp256k1_scalar_is_zero(&r) & (int)!secp256k1_scalar_is_zero(&s);
  const int refused = !statement->is_signed;
  secp256k1_scalar_cmov(&r, &secp256k1_scalar_zero, refused);
  secp256k1_scalar_cmov(&s, &secp256k1_scalar_zero, refused);
  secp256k1_scalar_get_b32(statement->rs64, &r);
  secp256k1_scalar_get_b32(statement->rs64 + 32, &s);
  BULLA_FAULT_GONE(x);
  BULLA_FAULT_GONE(&r);
  BULLA_FAULT_GONE(&sum);
  BULLA_FAULT_GONE(&s);
}

// All but the wiping: its frame, and those below, are wiped by who calls it.
__attribute__((noinline)) static int Compute(const BatchEcdsaComputation* computations,
                                             size_t computations_count,
                                             BatchEcdsaStatement* statements, size_t count,
                                             Work* work) {
  size_t at = 0;
  for (size_t c = 0; c < computations_count; ++c) {
    for (size_t i = 0; i < computations[c].count; ++i, ++at) {
      Read(&work->numbers[at], &statements[at], computations[c].negated);
    }
  }
  BULLA_FAULT_LIVE("numbers", work->numbers, count * sizeof work->numbers[0]);
  BULLA_FAULT_LIVE("products and points", work->room, RoomUsed(count) * sizeof work->room[0]);
  BULLA_FAULT_STAGE("numbers are read");
  const int done = MultiplyGenerator(computations, computations_count, work, count);
  if (done) {
    at = 0;
    for (size_t c = 0; c < computations_count; at += computations[c++].count) {
      InvertNonces(&work->numbers[at], computations[c].count, computations[c].random32);
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (done) {
      Finish(&work->numbers[i], &Points(work, count)[i], &statements[i]);
    } else {
      statements[i].is_signed = 0;
      memset(statements[i].rs64, 0, 64);
    }
  }
  BULLA_FAULT_GONE(work->numbers);
  BULLA_FAULT_GONE(work->room);
  return done;
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

int BatchEcdsaSign(const BatchEcdsaComputation* computations, size_t computations_count,
                   BatchEcdsaStatement* statements) {
  size_t count = 0;
  for (size_t c = 0; c < computations_count; ++c) {
    if (computations[c].count < 1 || computations[c].count > kBatchEcdsaMax - count) return 0;
    count += computations[c].count;
  }
  if (count == 0) return 0;
  Work work;
  const int done = Compute(computations, computations_count, statements, count, &work);
  WipeStackBelow();
  explicit_bzero(&work, offsetof(Work, room) + RoomUsed(count) * sizeof work.room[0]);
  return done;
}
