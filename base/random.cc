#include "base/random.h"

#include <cerrno>
#include <sys/random.h>

#include "base/check.h"

namespace bulla {

void FillRandom(MutableByteSpan out) {
  while (!out.empty()) {
    ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    BULLA_CHECK(got > 0, "getrandom failed");
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

std::uint64_t RandomUint64() {
  ByteArray<8> bytes;
  FillRandom(bytes);
  return LoadBigEndian64(bytes.data());
}

}  // namespace bulla
