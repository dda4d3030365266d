#pragma once

// The signing engine: libsecp256k1 behind contexts that are made once, randomised against side
// channels, and tested against known answers before anyone gets it. Signatures are deterministic
// (RFC 6979 with SHA-256), low-S, and each one is checked before it leaves: a fault during a
// deterministic signature can give the key away. No single fault lets out a signature that is
// wrong, or right for something else (ADR 9; shown by tests/faults).

#include <memory>
#include <span>

#include "base/status.h"
#include "base/values.h"
#include "crypto/key_tag.h"
#include "crypto/secret.h"

struct secp256k1_context_struct;
struct BatchEcdsaBlinding;

namespace bulla {

// A public point as libsecp256k1 keeps it: parsed, so that verifying against it needs no square
// root. Opaque, for this process only; PublicKey33 is what is stored and sent. Two of them are
// compared by their compressed forms. Only DerivePublic makes one.
struct PublicPoint {
  ByteArray<64> bytes{};
  ByteArray<16> key_tag{};  // of this point and its secret key: see crypto/key_tag
};

// How a signature is checked before it leaves (ADR 9). In each of the first two, key and digest are
// copied once, and in the end the copy of the key must be the one that its point was derived from,
// and the copy of the digest what the caller still has.
enum class SignatureCheck : std::uint8_t {
  // It is computed again, the other way round and under another blinding, and both must agree.
  // Costs a
  // signature. Where the engine has no batches, as kVerify.
  kRecompute,
  // The public key is recovered from it, and its nonce derived again. Costs 1.7 signatures.
  kVerify,
  // It is not: to measure what a check costs.
  kNone,
};

// One signature of a batch: what to sign with what, and what came of it. What is pointed to must
// not change meanwhile; a signature over what did is refused.
struct SigningJob {
  const Secret<32>* key = nullptr;
  const PublicPoint* point = nullptr;  // the key's own
  const Digest32* digest = nullptr;
  RecoverableSignature signature{};  // all zero unless it is_signed
  bool is_signed = false;
};

// Thread-safe. All methods take the same time whatever the secret is.
class Signer {
 public:
  static constexpr std::size_t kSeedBytes = 96;
  static constexpr std::size_t kBatchMax = 16;  // larger batches are signed in parts

  // `seed` is kSeedBytes random bytes, with which the library blinds its computations and keys are
  // tagged. INTERNAL when the self-test fails: then the machine cannot be trusted with a key.
  static absl::StatusOr<std::unique_ptr<Signer>> Create(
      ByteSpan seed, SignatureCheck check = SignatureCheck::kRecompute);
  ~Signer();
  Signer(const Signer&) = delete;
  Signer& operator=(const Signer&) = delete;

  // Whether it lies in 1 .. n-1, n the order of the group.
  bool IsValidSecretKey(const Secret<32>& key) const;

  // INVALID_ARGUMENT when the key is out of range.
  absl::StatusOr<PublicPoint> DerivePublic(const Secret<32>& key) const;

  // Requires: `point` came from DerivePublic.
  PublicKey33 Compress(const PublicPoint& point) const;

  // Signs `digest` and checks the result; `point` is the key's own. False, with `out` all zero,
  // when the key is out of range or the check fails.
  [[nodiscard]] bool Sign(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
                          RecoverableSignature* out) const;

  // As Sign() each of them, in half the time where the engine has batches (ADR 11).
  void SignBatch(std::span<SigningJob> jobs) const;

  // Whether this is the signature of `digest` under `key`, whose own point `point` is: with a low
  // s, the nonce of RFC 6979, and a recovery id that leads to `point`. What kVerify asks of each.
  bool Verifies(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
                const RecoverableSignature& signature) const;

  // Known answers: signatures, public keys and an address as published, and signatures that must
  // not verify. About a millisecond.
  absl::Status SelfTest() const;

 private:
  struct ContextDeleter {
    void operator()(secp256k1_context_struct* context) const;
  };
  using Context = std::unique_ptr<secp256k1_context_struct, ContextDeleter>;
  struct BlindingDeleter {
    void operator()(BatchEcdsaBlinding* blinding) const;
  };
  using Blinding = std::unique_ptr<BatchEcdsaBlinding, BlindingDeleter>;

  struct Copies;
  struct Results;
  Signer(Context context, Blinding first, Blinding second, KeyTagger tagger, SignatureCheck check);

  absl::StatusOr<PublicPoint> Derive(const Secret<32>& key) const;
  void SignPart(std::span<SigningJob> jobs) const;
  bool SignTogether(const Copies& copies, std::span<SigningJob> jobs, Results& second) const;
  void SignAlone(const Copies& copies, std::size_t i, SigningJob& job) const;
  bool IsUnchanged(const Copies& copies, std::size_t i, const SigningJob& job) const;
  bool HasItsNonce(const Secret<32>& key, const Digest32& digest,
                   const RecoverableSignature& signature) const;

  // Constant after Create, which is what makes the methods thread-safe.
  const Context context_;
  // Of the two computations of a signature; null where the engine has no batches.
  const Blinding first_;
  const Blinding second_;
  const KeyTagger tagger_;
  const SignatureCheck check_;
};

}  // namespace bulla
