// Exit status 0 when the compiler keeps the calls of Fill(). GCC 12.2 of Debian 12 takes a function
// for one without effects when all it does is store 64-byte aggregates through the pointer of an
// inlined helper, and deletes its calls, at -O1 and -O2. Signatures made of what was never stored
// would be the least of it. Valid C and C++.

#include <stdint.h>

typedef struct {
  uint64_t limbs[8];
} Value;

struct Work {
  uint64_t digits[8];
  Value values[64];
};

static inline __attribute__((always_inline)) void Store(Value* out, uint64_t digit, int factor) {
  Value value;
  for (int limb = 0; limb < 8; ++limb) value.limbs[limb] = digit * (uint64_t)(factor + limb + 1);
  *out = value;
}

static __attribute__((noinline)) void Fill(struct Work* work, int groups) {
  for (int factor = 0; factor < 8; ++factor) {
    for (int group = 0; group < groups; ++group) {
      Store(&work->values[factor * groups + group], work->digits[group], factor);
    }
  }
}

int main(void) {
  static struct Work work;
  for (int i = 0; i < 8; ++i) work.digits[i] = (uint64_t)i + 1;
  Fill(&work, 4);
  return work.values[5].limbs[2] == 8 ? 0 : 1;
}
