#pragma once

// Keccak-256 as Ethereum uses it: the Keccak submission's padding, which SHA-3 changed before it
// became a standard, so no SHA3-256 will do and OpenSSL 3.0 has none. For public data only (points
// and addresses): its working memory is not wiped.

#include "base/bytes.h"

namespace bulla {

ByteArray<32> Keccak256(ByteSpan message);

}  // namespace bulla
