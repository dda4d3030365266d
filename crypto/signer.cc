#include "crypto/signer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <openssl/sha.h>
#include <string_view>

#include <secp256k1.h>
#include <secp256k1_recovery.h>

#include "base/random.h"
#include "crypto/address.h"
#include "crypto/batch_ecdsa.h"
#include "crypto/fault_points.h"
#include "crypto/rfc6979.h"
#include "crypto/stack_wipe.h"

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
  std::array<Digest32, kCount> digests;
  std::array<SigningJob, kCount> jobs;
  for (std::size_t i = 0; i < kCount; ++i) {
    const KnownAnswer& answer = kKnownAnswers[i];
    HexDecode(answer.secret_key, keys[i].Expose());
    BULLA_ASSIGN_OR_RETURN(points[i], signer.DerivePublic(keys[i]));
    if (signer.Compress(points[i]) != FromHex<33>(answer.public_key)) {
      return SelfTestFailed("public key", answer.message);
    }
    SHA256(AsBytes(answer.message).data(), answer.message.size(), digests[i].data());
    jobs[i] = {.key = &keys[i], .point = &points[i], .digest = &digests[i]};
  }
  signer.SignBatch(jobs);
  for (std::size_t i = 0; i < kCount; ++i) {
    const KnownAnswer& answer = kKnownAnswers[i];
    const RecoverableSignature wanted{FromHex<64>(answer.rs), answer.recovery_id};
    RecoverableSignature alone;
    if (!signer.Sign(keys[i], points[i], digests[i], &alone) || alone != wanted) {
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
  const Digest32 digest{};
  RecoverableSignature signature;
  if (signer.Sign(key, wrong_point, digest, &signature)) {
    return SelfTestFailed("verdict", "another key's signature");
  }
  SigningJob jobs[2];
  for (SigningJob& job : jobs) job = {.key = &key, .point = &wrong_point, .digest = &digest};
  signer.SignBatch(jobs);
  if (jobs[0].is_signed || jobs[1].is_signed) {
    return SelfTestFailed("verdict", "another key's signatures in a batch");
  }
  return absl::OkStatus();
}

}  // namespace

// Keys and digests of a part of a batch, copied once: all that is computed begins here, so that
// what changes in the caller's memory meanwhile shows in the end.
struct Signer::Copies {
  explicit Copies(std::span<const SigningJob> jobs) {
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      keys[i] = jobs[i].key->Duplicate();
      digests[i] = *jobs[i].digest;
    }
  }

  std::array<Secret<32>, kBatchMax> keys;
  std::array<Digest32, kBatchMax> digests;
};

// What the second computation of each has given. Wiped, since there may be a faulty one.
struct Signer::Results {
  ~Results() { ::explicit_bzero(&signatures, sizeof signatures); }
  std::array<RecoverableSignature, kBatchMax> signatures;
};

#ifdef BULLA_BATCH_ECDSA
namespace {

// Up to kBatchEcdsaMax statements that are being put together.
class Batch {
 public:
  // A computation of all the statements that are added until the next.
  void Begin(const BatchEcdsaBlinding& blinding, bool negated) {
    ByteArray<32>& random = random_[computations_count_];
    FillRandom(random);
    computations_[computations_count_++] = {
        .blinding = &blinding, .negated = negated, .random32 = random.data(), .count = 0};
  }
  // The nonce is derived anew each time: that is how a wrong one is found.
  void Add(const Secret<32>& key, const Digest32& digest) {
    std::uint8_t* const nonce = nonces_[count_].Expose().data();
    Rfc6979Nonce(nonce, digest.data(), key.Expose().data(), nullptr, nullptr, /*attempt=*/0);
    statements_[count_] = {.key32 = key.Expose().data(),
                           .digest32 = digest.data(),
                           .nonce32 = nonce,
                           .rs64 = signatures_[count_].rs.data()};
    ++count_;
    ++computations_[computations_count_ - 1].count;
  }
  // Whether all are signed.
  bool Sign() {
    BULLA_FAULT_LIVE("nonces", &nonces_, count_ * sizeof nonces_[0]);
    BULLA_FAULT_LIVE("signatures", &signatures_, count_ * sizeof signatures_[0]);
    BULLA_FAULT_STAGE("nonces are derived");
    bool all_signed =
        BatchEcdsaSign(computations_.data(), computations_count_, statements_.data()) != 0;
    for (std::size_t i = 0; all_signed && i < count_; ++i) {
      signatures_[i].recovery_id = static_cast<std::uint8_t>(statements_[i].recovery_id);
      all_signed = statements_[i].is_signed != 0;
    }
    BULLA_FAULT_STAGE("all is signed");
    return all_signed;
  }
  const RecoverableSignature& operator[](std::size_t i) const { return signatures_[i]; }
  ~Batch() {
    BULLA_FAULT_GONE(&nonces_);
    BULLA_FAULT_GONE(&signatures_);
    ::explicit_bzero(&signatures_, sizeof signatures_);  // there may be a faulty one
    ::explicit_bzero(&random_, sizeof random_);
  }

 private:
  std::size_t count_ = 0;
  std::size_t computations_count_ = 0;
  std::array<BatchEcdsaComputation, 2> computations_;
  std::array<ByteArray<32>, 2> random_;
  std::array<Secret<32>, kBatchEcdsaMax> nonces_;
  std::array<BatchEcdsaStatement, kBatchEcdsaMax> statements_;
  std::array<RecoverableSignature, kBatchEcdsaMax> signatures_;
};
static_assert(2 * Signer::kBatchMax == kBatchEcdsaMax, "each is computed twice");

}  // namespace
#endif

void Signer::ContextDeleter::operator()(secp256k1_context_struct* context) const {
  secp256k1_context_destroy(context);
}

void Signer::BlindingDeleter::operator()([[maybe_unused]] BatchEcdsaBlinding* blinding) const {
#ifdef BULLA_BATCH_ECDSA
  BatchEcdsaBlindingDestroy(blinding);
#endif
}

Signer::Signer(Context context, Blinding first, Blinding second, KeyTagger tagger,
               SignatureCheck check)
    : context_(std::move(context)),
      first_(std::move(first)),
      second_(std::move(second)),
      tagger_(std::move(tagger)),
      check_(check) {}
Signer::~Signer() = default;

absl::StatusOr<std::unique_ptr<Signer>> Signer::Create(ByteSpan seed, SignatureCheck check) {
  if (seed.size() != kSeedBytes) {
    return absl::InvalidArgumentError(
        fmt::format("signer seed: {} bytes, want {}", seed.size(), kSeedBytes));
  }
  Context context(secp256k1_context_create(SECP256K1_CONTEXT_NONE));
  bool made =
      context != nullptr && secp256k1_context_randomize(context.get(), seed.subspan(0, 32).data());
  Blinding first;
  Blinding second;
#ifdef BULLA_BATCH_ECDSA
  first.reset(BatchEcdsaBlindingCreate(seed.subspan(0, 32).data()));
  second.reset(BatchEcdsaBlindingCreate(seed.subspan(32, 32).data()));
  made = made && first != nullptr && second != nullptr;
#endif
  if (!made) return absl::InternalError("secp256k1: cannot make a context");
  Secret<32> tag_key;
  std::ranges::copy(seed.subspan(64, 32), tag_key.Expose().begin());
  std::unique_ptr<Signer> signer(new Signer(std::move(context), std::move(first), std::move(second),
                                            KeyTagger(std::move(tag_key)), check));
  BULLA_RETURN_IF_ERROR(signer->SelfTest());
  return signer;
}

bool Signer::IsValidSecretKey(const Secret<32>& key) const {
  return secp256k1_ec_seckey_verify(context_.get(), key.Expose().data()) == 1;
}

absl::StatusOr<PublicPoint> Signer::DerivePublic(const Secret<32>& key) const {
  absl::StatusOr<PublicPoint> point = Derive(key);
  WipeStackBelow();
  return point;
}

// Point and tag are made of one copy, and that is the caller's key still when both are made: or a
// key that changes in between would carry a tag that fits it, and sign as somebody else's.
[[gnu::noinline]] absl::StatusOr<PublicPoint> Signer::Derive(const Secret<32>& key) const {
  const Secret<32> copy = key.Duplicate();
  secp256k1_pubkey pubkey;
  BULLA_FAULT_LIVE("key that a point is derived from", &key, sizeof key);
  BULLA_FAULT_LIVE("its copy", &copy, sizeof copy);
  BULLA_FAULT_STAGE("before a point is derived");
  if (!secp256k1_ec_pubkey_create(context_.get(), &pubkey, copy.Expose().data())) {
    return absl::InvalidArgumentError("secret key: out of range");
  }
  PublicPoint point = FromLibrary(pubkey);
  BULLA_FAULT_LIVE("point that was derived", &point, sizeof point);
  BULLA_FAULT_STAGE("before a point gets its tag");
  point.key_tag = tagger_.Tag(copy, point.bytes);
  BULLA_FAULT_STAGE("after a point has its tag");
  const bool unchanged = ConstantTimeEquals(copy.Expose(), key.Expose());
  BULLA_FAULT_GONE(&key);
  BULLA_FAULT_GONE(&copy);
  BULLA_FAULT_GONE(&point);
  if (!unchanged) return absl::DataLossError("secret key: it has changed in memory");
  return point;
}

PublicKey33 Signer::Compress(const PublicPoint& point) const {
  secp256k1_pubkey pubkey = ToLibrary(point);
  PublicKey33 compressed{};
  std::size_t length = compressed.size();
  secp256k1_ec_pubkey_serialize(context_.get(), compressed.data(), &length, &pubkey,
                                SECP256K1_EC_COMPRESSED);
  return compressed;
}

bool Signer::Sign(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
                  RecoverableSignature* out) const {
  SigningJob job{.key = &key, .point = &point, .digest = &digest};
  SignBatch({&job, 1});
  *out = job.signature;
  return job.is_signed;
}

void Signer::SignBatch(std::span<SigningJob> jobs) const {
  std::size_t parts = (jobs.size() + kBatchMax - 1) / kBatchMax;  // of one size, more or less
  for (; parts > 0; --parts) {
    const std::span<SigningJob> part = jobs.first((jobs.size() + parts - 1) / parts);
    jobs = jobs.subspan(part.size());
    SignPart(part);
  }
  WipeStackBelow();
}

[[gnu::noinline]] void Signer::SignPart(std::span<SigningJob> jobs) const {
  const Copies copies(jobs);
  Results second;
  BULLA_FAULT_LIVE("copies of the keys", &copies.keys, jobs.size() * sizeof copies.keys[0]);
  BULLA_FAULT_LIVE("copies of the digests", &copies.digests,
                   jobs.size() * sizeof copies.digests[0]);
  BULLA_FAULT_STAGE("keys and digests are copied");
  const bool together = SignTogether(copies, jobs, second);
  if (!together) {
    for (std::size_t i = 0; i < jobs.size(); ++i) SignAlone(copies, i, jobs[i]);
  }
  const bool twice = together && check_ == SignatureCheck::kRecompute;
  BULLA_FAULT_LIVE("second signatures", &second, jobs.size() * sizeof second.signatures[0]);
  BULLA_FAULT_STAGE("signatures are in their jobs");
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    SigningJob& job = jobs[i];
    if (check_ != SignatureCheck::kNone) {
      // What leaves is looked at last, and where it leaves from.
      job.is_signed =
          job.is_signed && IsUnchanged(copies, i, job) &&
          (twice ? AreTheSame(job.signature, second.signatures[i])
                 : Verifies(copies.keys[i], *job.point, copies.digests[i], job.signature));
    }
    // A faulty signature is as good as the key: nothing of it may stay behind.
    if (!job.is_signed) ::explicit_bzero(&job.signature, sizeof job.signature);
  }
  BULLA_FAULT_GONE(&second);
  BULLA_FAULT_GONE(&copies.keys);
  BULLA_FAULT_GONE(&copies.digests);
}

// False, with nothing signed, when they have to be signed one by one: because there is no engine
// for more or no gain, or it has met what it cannot do (see crypto/batch_ecdsa.h), or a key or
// nonce is out of range, or a fault has shown. Under kRecompute, each is computed twice.
bool Signer::SignTogether([[maybe_unused]] const Copies& copies,
                          [[maybe_unused]] std::span<SigningJob> jobs,
                          [[maybe_unused]] Results& second) const {
#ifdef BULLA_BATCH_ECDSA
  const bool twice = check_ == SignatureCheck::kRecompute;
  if (jobs.size() == 1 && !twice) return false;
  Batch batch;
  const auto add = [&](const BatchEcdsaBlinding& blinding, bool negated) {
    batch.Begin(blinding, negated);
    for (std::size_t i = 0; i < jobs.size(); ++i) batch.Add(copies.keys[i], copies.digests[i]);
  };
  add(*first_, /*negated=*/false);
  if (twice) add(*second_, /*negated=*/true);
  if (!batch.Sign()) return false;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].signature = batch[i];
    jobs[i].is_signed = true;
    if (twice) second.signatures[i] = batch[jobs.size() + i];
  }
  return true;
#else
  return false;
#endif
}

void Signer::SignAlone(const Copies& copies, std::size_t i, SigningJob& job) const {
  secp256k1_ecdsa_recoverable_signature recoverable;
  job.is_signed =
      secp256k1_ecdsa_sign_recoverable(context_.get(), &recoverable, copies.digests[i].data(),
                                       copies.keys[i].Expose().data(), Rfc6979Nonce, nullptr) == 1;
  if (!job.is_signed) return;
  int recovery_id = 0;
  // The library's signatures are low-S.
  secp256k1_ecdsa_recoverable_signature_serialize_compact(context_.get(), job.signature.rs.data(),
                                                          &recovery_id, &recoverable);
  job.signature.recovery_id = static_cast<std::uint8_t>(recovery_id);
  ::explicit_bzero(&recoverable, sizeof recoverable);  // it may be a faulty one
}

// To be asked when all is computed, which was from the copies: they have to be the key that the
// point was derived from, and the digest that the caller still has.
bool Signer::IsUnchanged(const Copies& copies, std::size_t i, const SigningJob& job) const {
  return copies.digests[i] == *job.digest &&
         tagger_.Matches(copies.keys[i], job.point->bytes, job.point->key_tag);
}

bool Signer::Verifies(const Secret<32>& key, const PublicPoint& point, const Digest32& digest,
                      const RecoverableSignature& signature) const {
  secp256k1_ecdsa_recoverable_signature parsed;
  secp256k1_ecdsa_signature plain;
  secp256k1_pubkey recovered;
  const secp256k1_pubkey pubkey = ToLibrary(point);
  return signature.recovery_id <= 3 &&
         secp256k1_ecdsa_recoverable_signature_parse_compact(
             context_.get(), &parsed, signature.rs.data(), signature.recovery_id) &&
         secp256k1_ecdsa_recoverable_signature_convert(context_.get(), &plain, &parsed) &&
         !secp256k1_ecdsa_signature_normalize(context_.get(), nullptr, &plain) &&  // s is low
         secp256k1_ecdsa_recover(context_.get(), &recovered, &parsed, digest.data()) &&
         secp256k1_ec_pubkey_cmp(context_.get(), &recovered, &pubkey) == 0 &&
         HasItsNonce(key, digest, signature);
}

// Whether s * k = m + r * d for the nonce k that belongs to key and digest, or for n - k, which is
// what makes s low. A valid signature with another nonce may give the key away beside the right
// one.
bool Signer::HasItsNonce(const Secret<32>& key, const Digest32& digest,
                         const RecoverableSignature& signature) const {
  const std::uint8_t* const r = signature.rs.data();
  const std::uint8_t* const s = r + 32;
  Secret<32> left;
  Rfc6979Nonce(left.Expose().data(), digest.data(), key.Expose().data(), nullptr, nullptr,
               /*attempt=*/0);
  Secret<32> right = key.Duplicate();
  if (!secp256k1_ec_seckey_tweak_mul(context_.get(), left.Expose().data(), s) ||
      !secp256k1_ec_seckey_tweak_mul(context_.get(), right.Expose().data(), r) ||
      !secp256k1_ec_seckey_tweak_add(context_.get(), right.Expose().data(),
                                     ReducedVarTime(digest).data())) {
    return false;
  }
  if (ConstantTimeEquals(left.Expose(), right.Expose())) return true;
  return secp256k1_ec_seckey_negate(context_.get(), left.Expose().data()) &&
         ConstantTimeEquals(left.Expose(), right.Expose());
}

absl::Status Signer::SelfTest() const {
  BULLA_RETURN_IF_ERROR(CheckKnownAnswers(*this));
  BULLA_ASSIGN_OR_RETURN(Address20 address, AddressOf(FromHex<33>(kKnownAnswers[0].public_key)));
  if (ToEip55(address) != kAddressOfKey1) return SelfTestFailed("address", "secret key 1");
  return check_ == SignatureCheck::kNone ? absl::OkStatus()
                                         : CheckThatAWrongSignatureIsRefused(*this);
}

}  // namespace bulla
