#pragma once

// An ECDSA signature as ASN.1 DER: SEQUENCE { INTEGER r, INTEGER s } (SEC 1, C.8; X.690, 8.3 and
// 10.1), for callers whose libraries want that form.

#include "base/values.h"

namespace bulla {

// 8 to 72 bytes. `rs` is r || s, each 32 bytes big-endian.
Bytes EncodeDerSignature(const ByteArray<64>& rs);

}  // namespace bulla
