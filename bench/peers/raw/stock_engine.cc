// Debian's libsecp256k1, called as its header says.

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <dlfcn.h>
#include <secp256k1.h>

#include "base/random.h"
#include "bench/load/answer_log.h"
#include "bench/peers/raw/engine.h"

namespace peers {
namespace {

secp256k1_pubkey ParsePoint(const RawKey& key) {
  secp256k1_pubkey point;
  if (!secp256k1_ec_pubkey_parse(secp256k1_context_static, &point, key.point.data(),
                                 key.point.size())) {
    throw std::runtime_error("a key's point is not on the curve");
  }
  return point;
}

struct StockKey {
  bulla::ByteArray<32> secret;
  secp256k1_pubkey point;
};

class StockSession final : public RawSession {
 public:
  explicit StockSession(std::span<const StockKey> keys)
      : keys_(keys), context_(secp256k1_context_create(SECP256K1_CONTEXT_NONE)) {
    bulla::ByteArray<32> seed;
    bulla::FillRandom(seed);
    if (!secp256k1_context_randomize(context_, seed.data())) std::abort();
  }
  ~StockSession() override { secp256k1_context_destroy(context_); }

  bool Sign(std::size_t key, const bulla::Digest32& digest, RawSignature& out) override {
    secp256k1_ecdsa_signature signature;
    if (!secp256k1_ecdsa_sign(context_, &signature, digest.data(), keys_[key].secret.data(),
                              nullptr, nullptr)) {
      return false;
    }
    out.length = 64;
    return secp256k1_ecdsa_signature_serialize_compact(context_, out.bytes.data(), &signature) == 1;
  }

  bool Verify(std::size_t key, const bulla::Digest32& digest,
              const RawSignature& signature) override {
    secp256k1_ecdsa_signature parsed;
    return secp256k1_ecdsa_signature_parse_compact(context_, &parsed, signature.bytes.data()) &&
           secp256k1_ecdsa_verify(context_, &parsed, digest.data(), &keys_[key].point);
  }

 private:
  const std::span<const StockKey> keys_;
  secp256k1_context* const context_;
};

class StockEngine final : public RawEngine {
 public:
  explicit StockEngine(std::span<const RawKey> keys) {
    for (const RawKey& key : keys) keys_.push_back({key.secret, ParsePoint(key)});
  }
  std::string Version() const override {
    Dl_info info{};
    ::dladdr(reinterpret_cast<const void*>(&secp256k1_ecdsa_sign), &info);
    return info.dli_fname == nullptr ? "unknown" : info.dli_fname;
  }
  std::unique_ptr<RawSession> OpenSession() override {
    return std::make_unique<StockSession>(keys_);
  }

 private:
  std::vector<StockKey> keys_;
};

bool Parse(const RawSignature& signature, secp256k1_ecdsa_signature& out) {
  const secp256k1_context* context = secp256k1_context_static;
  if (signature.der) {
    return secp256k1_ecdsa_signature_parse_der(context, &out, signature.bytes.data(),
                                               signature.length) == 1;
  }
  return signature.length == 64 &&
         secp256k1_ecdsa_signature_parse_compact(context, &out, signature.bytes.data()) == 1;
}

}  // namespace

std::unique_ptr<RawEngine> MakeStockEngine(std::span<const RawKey> keys) {
  return std::make_unique<StockEngine>(keys);
}

std::vector<RawKey> MakeRawKeys(std::uint64_t seed, std::size_t count) {
  secp256k1_context* context = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
  std::vector<RawKey> keys(count);
  for (std::size_t i = 0; i < count; ++i) {
    keys[i].secret = bulla::DigestOf(~seed, i);
    secp256k1_pubkey point;
    // That one is out of range has a chance of 2^-128.
    if (!secp256k1_ec_pubkey_create(context, &point, keys[i].secret.data())) std::abort();
    std::size_t length = keys[i].point.size();
    secp256k1_ec_pubkey_serialize(context, keys[i].point.data(), &length, &point,
                                  SECP256K1_EC_UNCOMPRESSED);
  }
  secp256k1_context_destroy(context);
  return keys;
}

bool IsRightRawSignature(const RawKey& key, const bulla::Digest32& digest,
                         const RawSignature& signature) {
  secp256k1_ecdsa_signature parsed;
  if (!Parse(signature, parsed)) return false;
  secp256k1_ecdsa_signature_normalize(secp256k1_context_static, &parsed, &parsed);
  secp256k1_pubkey point = ParsePoint(key);
  return secp256k1_ecdsa_verify(secp256k1_context_static, &parsed, digest.data(), &point) == 1;
}

}  // namespace peers
