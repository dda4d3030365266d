#pragma once

// The signing engine: libsecp256k1 behind contexts that are made once, randomised against side
// channels, and tested against known answers before anyone gets it. Signatures are deterministic
// (RFC 6979 with SHA-256), low-S, and each one is checked before it leaves: a fault during a
// deterministic signature can give the key away.

#include <memory>

#include "base/status.h"
#include "base/values.h"
#include "crypto/key_tag.h"
#include "crypto/secret.h"

struct secp256k1_context_struct;

namespace bulla {

// A public point as libsecp256k1 keeps it: parsed, so that verifying against it needs no square
// root. Opaque, for this process only; PublicKey33 is what is stored and sent. Two of them are
// compared by their compressed forms. Only DerivePublic makes one.
struct PublicPoint {
  ByteArray<64> bytes{};
  ByteArray<16> key_tag{};  // of this point and its secret key: see crypto/key_tag
};

// How a signature is checked before it leaves. Which faults each finds: ADR 9.
enum class SignatureCheck : std::uint8_t {
  // It is computed again, the other way round and under another blinding, and both must agree; the
  // key must be the one that its point was derived from. Costs a signature.
  kRecompute,
  // It is verified with the public point. Costs 1.7 signatures.
  kVerify,
  // It is not: to measure what a check costs.
  kNone,
};

// Thread-safe. All methods take the same time whatever the secret is.
class Signer {
 public:
  static constexpr std::size_t kSeedBytes = 96;

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

  // Whether a signature passes this signer's check, as each of its own has to.
  bool Passes(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
              const RecoverableSignature& signature) const;

  // Which library computes, and how it was built: for the log at start.
  static const char* Engine();

  // Known answers: signatures, public keys and an address as published, and signatures that must
  // not verify. About a millisecond.
  absl::Status SelfTest() const;

 private:
  struct ContextDeleter {
    void operator()(secp256k1_context_struct* context) const;
  };
  using Context = std::unique_ptr<secp256k1_context_struct, ContextDeleter>;
  static Context MakeContext(ByteSpan seed);
  Signer(Context context, Context second, KeyTagger tagger, SignatureCheck check);

  bool Agrees(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
              const RecoverableSignature& signature) const;
  bool Verifies(const PublicPoint& point, const Digest32& digest,
                const RecoverableSignature& signature) const;

  // Constant after Create, which is what makes the methods thread-safe.
  const Context context_;
  const Context second_context_;  // blinded with other randomness than the first
  const KeyTagger tagger_;
  const SignatureCheck check_;
};

}  // namespace bulla
