#include "crypto/signer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <openssl/sha.h>
#include <string_view>

#include <secp256k1.h>
#include <secp256k1_recovery.h>

#include "crypto/address.h"
#include "crypto/batch_ecdsa.h"
#include "crypto/rfc6979.h"

namespace bulla {
namespace {

static_assert(sizeof(secp256k1_pubkey) == sizeof(PublicPoint::bytes));

PublicPoint FromLibrary(const secp256k1_pubkey& pubkey) {
  PublicPoint point;
  std::memcpy(point.bytes.data(), pubkey.data, sizeof pubkey.data);
  return point;
}

secp256k1_pubkey ToLibrary(const PublicPoint& point) {
  secp256k1_pubkey pubkey;
  std::memcpy(pubkey.data, point.bytes.data(), sizeof pubkey.data);
  return pubkey;
}

// Published for secp256k1 with RFC 6979 and SHA-256: the digest is SHA-256 of the message, the
// public keys are the generator's multiples, the recovery ids were agreed on by other libraries.
struct KnownAnswer {
  std::string_view secret_key;
  std::string_view public_key;
  std::string_view message;
  std::string_view rs;
  std::uint8_t recovery_id;
};
constexpr KnownAnswer kKnownAnswers[] = {
    {"0000000000000000000000000000000000000000000000000000000000000001",
     "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", "Satoshi Nakamoto",
     "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
     "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
     1},
    {"0000000000000000000000000000000000000000000000000000000000000001",
     "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
     "All those moments will be lost in time, like tears in rain. Time to die...",
     "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b"
     "547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
     0},
    {"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140",
     "0379be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", "Satoshi Nakamoto",
     "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0"
     "6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
     0},
    {"f8b8af8ce3c7cca5e300d33939540c10d45ce001b8f252bfbc57ba0342904181",
     "0292df7b245b81aa637ab4e867c8d511008f79161a97d64f2ac709600352f7acbc", "Alan Turing",
     "7063ae83e7f62bbb171798131b4a0564b956930092b33b07b395615d9ec7e15c"
     "58dfcc1e00a35e1572f366ffe34ba0fc47db1e7189759b9fb233c5b05ab388ea",
     0},
};
constexpr std::string_view kAddressOfKey1 = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";

absl::Status SelfTestFailed(std::string_view what, std::string_view of) {
  return absl::InternalError(fmt::format("signer self-test: wrong {} for \"{}\"", what, of));
}

// What the second computation of a signature has its nonce from: the first one's input.
struct NonceInput {
  const secp256k1_context* context;
  const Secret<32>& key;
  const Digest32& digest;
};

// A secp256k1_nonce_function whose `data` is a NonceInput: the nonce of that, negated.
int NegatedNonce(unsigned char* nonce32, const unsigned char*, const unsigned char*,
                 const unsigned char* algo16, void* data, unsigned int attempt) {
  const auto& input = *static_cast<const NonceInput*>(data);
  return Rfc6979Nonce(nonce32, input.digest.data(), input.key.Expose().data(), algo16, nullptr,
                      attempt) &&
         secp256k1_ec_seckey_negate(input.context, nonce32);
}

bool SignWith(const secp256k1_context* context, const Digest32& digest, const Secret<32>& key,
              secp256k1_nonce_function nonce, void* nonce_data, RecoverableSignature& out) {
  secp256k1_ecdsa_recoverable_signature recoverable;
  if (!secp256k1_ecdsa_sign_recoverable(context, &recoverable, digest.data(), key.Expose().data(),
                                        nonce, nonce_data)) {
    return false;
  }
  int recovery_id = 0;
  secp256k1_ecdsa_recoverable_signature_serialize_compact(context, out.rs.data(), &recovery_id,
                                                          &recoverable);
  out.recovery_id = static_cast<std::uint8_t>(recovery_id);
  ::explicit_bzero(&recoverable, sizeof recoverable);  // it may be a faulty one
  return true;
}

// A signature and one that was computed from the negatives.
bool AreTheSame(const RecoverableSignature& signature, const RecoverableSignature& negated) {
  return signature.rs == negated.rs && signature.recovery_id == (negated.recovery_id ^ 1);
}

// The constants above are public, so they may pass through ordinary memory.
template <std::size_t N>
ByteArray<N> FromHex(std::string_view hex) {
  ByteArray<N> bytes{};
  HexDecode(hex, bytes);
  return bytes;
}

// All of them in one batch, and each alone.
absl::Status CheckKnownAnswers(const Signer& signer) {
  constexpr std::size_t kCount = std::size(kKnownAnswers);
  std::array<Secret<32>, kCount> keys;
  std::array<PublicPoint, kCount> points;
  std::array<SigningJob, kCount> jobs;
  for (std::size_t i = 0; i < kCount; ++i) {
    const KnownAnswer& answer = kKnownAnswers[i];
    HexDecode(answer.secret_key, keys[i].Expose());
    BULLA_ASSIGN_OR_RETURN(points[i], signer.DerivePublic(keys[i]));
    if (signer.Compress(points[i]) != FromHex<33>(answer.public_key)) {
      return SelfTestFailed("public key", answer.message);
    }
    jobs[i].key = &keys[i];
    jobs[i].point = &points[i];
    SHA256(AsBytes(answer.message).data(), answer.message.size(), jobs[i].digest.data());
  }
  signer.SignBatch(jobs);
  for (std::size_t i = 0; i < kCount; ++i) {
    const KnownAnswer& answer = kKnownAnswers[i];
    const RecoverableSignature wanted{FromHex<64>(answer.rs), answer.recovery_id};
    RecoverableSignature alone;
    if (!signer.Sign(keys[i], points[i], jobs[i].digest, &alone) || alone != wanted) {
      return SelfTestFailed("signature", answer.message);
    }
    if (!jobs[i].is_signed || jobs[i].signature != wanted) {
      return SelfTestFailed("signature in a batch", answer.message);
    }
  }
  return absl::OkStatus();
}

// The check that guards every signature must be able to refuse one.
absl::Status CheckThatAWrongSignatureIsRefused(const Signer& signer) {
  Secret<32> key;
  key.Expose()[31] = 1;
  Secret<32> other;
  other.Expose()[31] = 2;
  BULLA_ASSIGN_OR_RETURN(PublicPoint wrong_point, signer.DerivePublic(other));
  RecoverableSignature signature;
  if (signer.Sign(key, wrong_point, Digest32{}, &signature)) {
    return SelfTestFailed("verdict", "another key's signature");
  }
  SigningJob jobs[2];
  for (SigningJob& job : jobs) job = {.key = &key, .point = &wrong_point};
  signer.SignBatch(jobs);
  if (jobs[0].is_signed || jobs[1].is_signed) {
    return SelfTestFailed("verdict", "another key's signatures in a batch");
  }
  return absl::OkStatus();
}

#ifdef BULLA_BATCH_ECDSA
// Up to kBatchEcdsaMax statements that are being put together.
class Batch {
 public:
  // The nonce is derived anew each time: that is how a wrong one is found.
  void Add(const SigningJob& job, const BatchEcdsaBlinding& blinding, bool negated) {
    const std::uint8_t* const key = job.key->Expose().data();
    std::uint8_t* const nonce = nonces_[count_].Expose().data();
    Rfc6979Nonce(nonce, job.digest.data(), key, nullptr, nullptr, /*attempt=*/0);
    statements_[count_] = {.blinding = &blinding,
                           .negated = negated,
                           .key32 = key,
                           .digest32 = job.digest.data(),
                           .nonce32 = nonce,
                           .rs64 = signatures_[count_].rs.data()};
    ++count_;
  }
  // Whether all are signed.
  bool Sign() {
    if (!BatchEcdsaSign(statements_.data(), count_)) return false;
    bool all_signed = true;
    for (std::size_t i = 0; i < count_; ++i) {
      signatures_[i].recovery_id = static_cast<std::uint8_t>(statements_[i].recovery_id);
      all_signed = all_signed && statements_[i].is_signed != 0;
    }
    return all_signed;
  }
  const RecoverableSignature& operator[](std::size_t i) const { return signatures_[i]; }
  ~Batch() { ::explicit_bzero(&signatures_, sizeof signatures_); }  // there may be a faulty one

 private:
  std::size_t count_ = 0;
  std::array<Secret<32>, kBatchEcdsaMax> nonces_;
  std::array<BatchEcdsaStatement, kBatchEcdsaMax> statements_;
  std::array<RecoverableSignature, kBatchEcdsaMax> signatures_;
};
static_assert(2 * Signer::kBatchMax == kBatchEcdsaMax, "each is computed twice");
#endif

}  // namespace

void Signer::ContextDeleter::operator()(secp256k1_context_struct* context) const {
  secp256k1_context_destroy(context);
}

Signer::Signer(Computer first, Computer second, KeyTagger tagger, SignatureCheck check)
    : first_(std::move(first)),
      second_(std::move(second)),
      tagger_(std::move(tagger)),
      check_(check) {}
Signer::~Signer() = default;

void Signer::BlindingDeleter::operator()([[maybe_unused]] BatchEcdsaBlinding* blinding) const {
#ifdef BULLA_BATCH_ECDSA
  BatchEcdsaBlindingDestroy(blinding);
#endif
}

absl::StatusOr<Signer::Computer> Signer::MakeComputer(ByteSpan seed) {
  Computer computer{Context(secp256k1_context_create(SECP256K1_CONTEXT_NONE)), nullptr};
  bool made = computer.context != nullptr &&
              secp256k1_context_randomize(computer.context.get(), seed.data());
#ifdef BULLA_BATCH_ECDSA
  computer.blinding.reset(BatchEcdsaBlindingCreate(seed.data()));
  made = made && computer.blinding != nullptr;
#endif
  if (!made) return absl::InternalError("secp256k1: cannot make a context");
  return computer;
}

absl::StatusOr<std::unique_ptr<Signer>> Signer::Create(ByteSpan seed, SignatureCheck check) {
  if (seed.size() != kSeedBytes) {
    return absl::InvalidArgumentError(
        fmt::format("signer seed: {} bytes, want {}", seed.size(), kSeedBytes));
  }
  BULLA_ASSIGN_OR_RETURN(Computer first, MakeComputer(seed.first(32)));
  BULLA_ASSIGN_OR_RETURN(Computer second, MakeComputer(seed.subspan(32, 32)));
  Secret<32> tag_key;
  std::ranges::copy(seed.subspan(64, 32), tag_key.Expose().begin());
  std::unique_ptr<Signer> signer(
      new Signer(std::move(first), std::move(second), KeyTagger(std::move(tag_key)), check));
  BULLA_RETURN_IF_ERROR(signer->SelfTest());
  return signer;
}

bool Signer::IsValidSecretKey(const Secret<32>& key) const {
  return secp256k1_ec_seckey_verify(first_.context.get(), key.Expose().data()) == 1;
}

absl::StatusOr<PublicPoint> Signer::DerivePublic(const Secret<32>& key) const {
  secp256k1_pubkey pubkey;
  if (!secp256k1_ec_pubkey_create(first_.context.get(), &pubkey, key.Expose().data())) {
    return absl::InvalidArgumentError("secret key: out of range");
  }
  PublicPoint point = FromLibrary(pubkey);
  point.key_tag = tagger_.Tag(key, point.bytes);
  return point;
}

PublicKey33 Signer::Compress(const PublicPoint& point) const {
  secp256k1_pubkey pubkey = ToLibrary(point);
  PublicKey33 compressed{};
  std::size_t length = compressed.size();
  secp256k1_ec_pubkey_serialize(first_.context.get(), compressed.data(), &length, &pubkey,
                                SECP256K1_EC_COMPRESSED);
  return compressed;
}

bool Signer::Sign(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
                  RecoverableSignature* out) const {
  SigningJob job{.key = &key, .point = &point, .digest = digest};
  SignBatch({&job, 1});
  *out = job.signature;
  return job.is_signed;
}

void Signer::SignBatch(std::span<SigningJob> jobs) const {
  std::size_t parts = (jobs.size() + kBatchMax - 1) / kBatchMax;  // of one size, more or less
  for (; parts > 0; --parts) {
    const std::span<SigningJob> part = jobs.first((jobs.size() + parts - 1) / parts);
    jobs = jobs.subspan(part.size());
    if (SignTogether(part)) continue;
    for (SigningJob& job : part) SignAlone(job);
  }
}

void Signer::SignAlone(SigningJob& job) const {
  // The library's signatures are low-S.
  job.is_signed =
      SignWith(first_.context.get(), job.digest, *job.key, Rfc6979Nonce, nullptr, job.signature) &&
      Passes(*job.key, *job.point, job.digest, job.signature);
  // A faulty signature is as good as the key: nothing of it may stay behind.
  if (!job.is_signed) ::explicit_bzero(&job.signature, sizeof job.signature);
}

// False, with nothing signed, when they have to be signed one by one: because there is no engine
// for more or no gain, or it has met what it cannot do (see crypto/batch_ecdsa.h), or a key or
// nonce is out of range.
bool Signer::SignTogether([[maybe_unused]] std::span<SigningJob> jobs) const {
#ifdef BULLA_BATCH_ECDSA
  const bool twice = check_ == SignatureCheck::kRecompute;
  if (jobs.size() == 1 && !twice) return false;
  Batch batch;
  for (const SigningJob& job : jobs) batch.Add(job, *first_.blinding, /*negated=*/false);
  if (twice) {
    for (const SigningJob& job : jobs) batch.Add(job, *second_.blinding, /*negated=*/true);
  }
  if (!batch.Sign()) return false;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    SigningJob& job = jobs[i];
    job.is_signed =
        twice ? AreTheSame(batch[i], batch[jobs.size() + i]) && IsUnchanged(*job.key, *job.point)
              : Passes(*job.key, *job.point, job.digest, batch[i]);
    job.signature = job.is_signed ? batch[i] : RecoverableSignature{};
  }
  return true;
#else
  return false;
#endif
}

// To be asked last, so that it covers the key as both computations have read it.
bool Signer::IsUnchanged(const Secret<32>& key, const PublicPoint& point) const {
  return tagger_.Matches(key, point.bytes, point.key_tag);
}

bool Signer::Passes(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
                    const RecoverableSignature& signature) const {
  switch (check_) {
    case SignatureCheck::kRecompute:
      return Agrees(key, point, digest, signature);
    case SignatureCheck::kVerify:
      return Verifies(point, digest, signature);
    case SignatureCheck::kNone:
      break;
  }
  return true;
}

// The negated key signs the negated digest with the negated nonce. That gives the same r and s, and
// the other parity of the nonce's point against which s is low, so the other recovery id; but on
// the way there is not one intermediate value that the first computation had.
bool Signer::Agrees(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
                    const RecoverableSignature& signature) const {
  Secret<32> negated = key.Duplicate();
  if (!secp256k1_ec_seckey_negate(second_.context.get(), negated.Expose().data())) return false;
  NonceInput input{second_.context.get(), key, digest};
  RecoverableSignature second;
  const bool agrees = SignWith(second_.context.get(), NegatedVarTime(digest), negated, NegatedNonce,
                               &input, second) &&
                      AreTheSame(signature, second);
  if (agrees && IsUnchanged(key, point)) return true;
  ::explicit_bzero(&second, sizeof second);
  return false;
}

bool Signer::Verifies(const PublicPoint& point, const Digest32& digest,
                      const RecoverableSignature& signature) const {
  secp256k1_ecdsa_signature parsed;
  secp256k1_pubkey pubkey = ToLibrary(point);
  // Refuses a high s as well.
  return secp256k1_ecdsa_signature_parse_compact(first_.context.get(), &parsed,
                                                 signature.rs.data()) &&
         secp256k1_ecdsa_verify(first_.context.get(), &parsed, digest.data(), &pubkey);
}

const char* Signer::Engine() { return BULLA_ENGINE; }

absl::Status Signer::SelfTest() const {
  BULLA_RETURN_IF_ERROR(CheckKnownAnswers(*this));
  BULLA_ASSIGN_OR_RETURN(Address20 address, AddressOf(FromHex<33>(kKnownAnswers[0].public_key)));
  if (ToEip55(address) != kAddressOfKey1) return SelfTestFailed("address", "secret key 1");
  return check_ == SignatureCheck::kNone ? absl::OkStatus()
                                         : CheckThatAWrongSignatureIsRefused(*this);
}

}  // namespace bulla
