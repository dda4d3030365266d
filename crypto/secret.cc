#include "crypto/secret.h"

#include <openssl/crypto.h>

namespace bulla {

bool ConstantTimeEquals(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace bulla
