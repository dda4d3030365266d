#pragma once

// What a call has left behind on the stack: nobody wipes what compilers spill there, so whoever has
// called code that works on secrets overwrites what lies below its own frame. C as well as C++.

#include <string.h>

// More than what is called below one of ours takes: libsecp256k1's signing and deriving, 6 KiB.
// (The large thing, a batch's scratch memory, wipes itself: crypto/batch_ecdsa.c.) signer_test
// measures it.
enum { kWipedStackBytes = 16 * 1024 };

// Overwrites kWipedStackBytes below the caller's frame. Call it from the frame that made the calls,
// not from one that they were inlined into.
__attribute__((noinline, unused)) static void WipeStackBelow(void) {
  unsigned char left_behind[kWipedStackBytes];
  explicit_bzero(left_behind, sizeof left_behind);
}
