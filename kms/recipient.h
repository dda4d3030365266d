#pragma once

// The enclave as a KMS recipient: an RSA key that never leaves this process, whose public half
// travels in the attestation document, and the CMS envelope in which KMS answers to it
// (CiphertextForRecipient: RSAES-OAEP with SHA-256, AES-256-CBC, BER). The envelope encrypts and
// does not authenticate: that the reply is KMS's rests on TLS.

#include <memory>

#include "base/bytes.h"
#include "base/status.h"
#include "crypto/secret.h"

namespace bulla {

inline constexpr std::size_t kCiphertextForRecipientBytesMax = 6144;  // KMS's limit

// Thread-safe once made.
class Recipient {
 public:
  // A new RSA-2048 key: about 50 ms, so one per boot.
  static absl::StatusOr<std::unique_ptr<Recipient>> Generate();
  ~Recipient();

  // DER of the SubjectPublicKeyInfo, as an attestation document carries it.
  const Bytes& public_key() const;

  // Opens an envelope that holds exactly 32 bytes. INVALID_ARGUMENT when it is malformed, meant
  // for another key, or does not decrypt: the message does not say which step failed.
  absl::StatusOr<Secret<32>> Open(ByteSpan envelope) const;

 private:
  struct Key;
  explicit Recipient(std::unique_ptr<Key> key);
  std::unique_ptr<Key> key_;
};

// What KMS does: seals `plaintext` for the holder of `public_key`, an RSA-2048
// SubjectPublicKeyInfo, in AWS's exact shape. The local KMS answers with it.
absl::StatusOr<Bytes> SealForRecipient(ByteSpan public_key, ByteSpan plaintext);

// The subjectKeyIdentifier of an envelope that parses; for tests against real envelopes.
absl::StatusOr<Bytes> EnvelopeKeyIdentifier(ByteSpan envelope);

}  // namespace bulla
