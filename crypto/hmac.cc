#include "crypto/hmac.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/check.h"

namespace bulla {

ByteArray<32> HmacSha256(ByteSpan key, ByteSpan message) {
  ByteArray<32> mac;
  unsigned int length = 0;
  const unsigned char* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                                   message.data(), message.size(), mac.data(), &length);
  BULLA_CHECK(made != nullptr && length == mac.size(), "HMAC-SHA-256 is available");
  return mac;
}

}  // namespace bulla
