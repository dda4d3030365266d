#pragma once

// What anybody can do with a signature and no secret: verify it and recover its public key. For the
// command line, the load tool and tests.

#include "base/status.h"
#include "base/values.h"

namespace bulla {

// The key whose signature over `digest` this is. INVALID_ARGUMENT when there is none: r or s out
// of range, or the recovery id not 0..3 or impossible for this r.
absl::StatusOr<PublicKey33> RecoverPublicKey(const Digest32& digest,
                                             const RecoverableSignature& signature);

// `rs` is r || s, 32 bytes each, big-endian. False also for a high s, a value out of range, and a
// public key that is no point of the curve.
bool VerifySignature(const PublicKey33& public_key, const Digest32& digest,
                     const ByteArray<64>& rs);

}  // namespace bulla
