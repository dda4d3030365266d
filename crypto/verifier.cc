#include "crypto/verifier.h"

#include <secp256k1.h>
#include <secp256k1_recovery.h>

namespace bulla {

absl::StatusOr<PublicKey33> RecoverPublicKey(const Digest32& digest,
                                             const RecoverableSignature& signature) {
  const secp256k1_context* context = secp256k1_context_static;
  // The library takes a recovery id out of range for a mistake of its caller's, and aborts.
  if (signature.recovery_id > 3) {
    return absl::InvalidArgumentError("signature: the recovery id is not 0..3");
  }
  secp256k1_ecdsa_recoverable_signature parsed;
  secp256k1_pubkey point;
  if (!secp256k1_ecdsa_recoverable_signature_parse_compact(context, &parsed, signature.rs.data(),
                                                           signature.recovery_id) ||
      !secp256k1_ecdsa_recover(context, &point, &parsed, digest.data())) {
    return absl::InvalidArgumentError("signature: no public key has it");
  }
  PublicKey33 public_key;
  std::size_t length = public_key.size();
  secp256k1_ec_pubkey_serialize(context, public_key.data(), &length, &point,
                                SECP256K1_EC_COMPRESSED);
  return public_key;
}

bool VerifySignature(const PublicKey33& public_key, const Digest32& digest,
                     const ByteArray<64>& rs) {
  const secp256k1_context* context = secp256k1_context_static;
  secp256k1_pubkey point;
  secp256k1_ecdsa_signature signature;
  return secp256k1_ec_pubkey_parse(context, &point, public_key.data(), public_key.size()) &&
         secp256k1_ecdsa_signature_parse_compact(context, &signature, rs.data()) &&
         secp256k1_ecdsa_verify(context, &signature, digest.data(), &point);
}

}  // namespace bulla
