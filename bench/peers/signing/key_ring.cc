#include "bench/peers/signing/key_ring.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include <dlfcn.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>

#include "base/random.h"
#include "crypto/address.h"

namespace peers {

struct KeyRing::Key {
  bulla::ByteArray<32> secret;
  secp256k1_pubkey point;
};

KeyRing::KeyRing(bool verify)
    : verify_(verify), context_(secp256k1_context_create(SECP256K1_CONTEXT_NONE)) {
  bulla::ByteArray<32> seed;
  bulla::FillRandom(seed);
  if (!secp256k1_context_randomize(context_, seed.data())) std::abort();
}

KeyRing::~KeyRing() { secp256k1_context_destroy(context_); }

NewKey KeyRing::Create() {
  auto key = std::make_unique<Key>();
  do {
    bulla::FillRandom(key->secret);
  } while (!secp256k1_ec_pubkey_create(context_, &key->point, key->secret.data()));
  NewKey created{.id = bulla::KeyId::New(bulla::RealClock().WallNow())};
  std::size_t length = created.public_key.size();
  secp256k1_ec_pubkey_serialize(context_, created.public_key.data(), &length, &key->point,
                                SECP256K1_EC_COMPRESSED);
  created.address = *bulla::AddressOf(created.public_key);
  std::unique_lock lock(mutex_);
  keys_.emplace(created.id, std::move(key));
  return created;
}

std::optional<bulla::RecoverableSignature> KeyRing::Sign(const bulla::KeyId& id,
                                                         const bulla::Digest32& digest) const {
  const Key* key = nullptr;
  {
    std::shared_lock lock(mutex_);
    auto found = keys_.find(id);
    if (found == keys_.end()) return std::nullopt;
    key = found->second.get();  // keys are never removed
  }
  secp256k1_ecdsa_recoverable_signature signature;
  if (!secp256k1_ecdsa_sign_recoverable(context_, &signature, digest.data(), key->secret.data(),
                                        nullptr, nullptr)) {
    return std::nullopt;
  }
  if (verify_) {
    secp256k1_ecdsa_signature plain;
    secp256k1_ecdsa_recoverable_signature_convert(context_, &plain, &signature);
    if (!secp256k1_ecdsa_verify(context_, &plain, digest.data(), &key->point)) return std::nullopt;
  }
  bulla::RecoverableSignature out;
  int recovery_id = 0;
  secp256k1_ecdsa_recoverable_signature_serialize_compact(context_, out.rs.data(), &recovery_id,
                                                          &signature);
  out.recovery_id = static_cast<std::uint8_t>(recovery_id);
  return out;
}

std::string KeyRing::LibraryPath() {
  Dl_info info{};
  ::dladdr(reinterpret_cast<const void*>(&secp256k1_ecdsa_sign), &info);
  return info.dli_fname == nullptr ? "unknown" : info.dli_fname;
}

}  // namespace peers
