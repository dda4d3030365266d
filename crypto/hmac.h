#pragma once

// HMAC-SHA-256 (RFC 2104), for what is authenticated under a key that both ends have.

#include "base/bytes.h"

namespace bulla {

ByteArray<32> HmacSha256(ByteSpan key, ByteSpan message);

}  // namespace bulla
