// OpenSSL 3 through EVP: key objects and their contexts are made once and kept, which is the fast
// way to use it. Its nonce is random, its s is not normalised, it gives DER and no recovery id.

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdexcept>

#include "bench/peers/raw/engine.h"

namespace peers {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using EvpKey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using EvpContext = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>>;
using Number = std::unique_ptr<BIGNUM, Free<BN_clear_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, Free<OSSL_PARAM_BLD_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Free<OSSL_PARAM_free>>;

void Require(bool done, const char* what) {
  if (!done) throw std::runtime_error(std::string("OpenSSL: ") + what);
}

EvpKey Import(const RawKey& key) {
  Number secret(BN_bin2bn(key.secret.data(), static_cast<int>(key.secret.size()), nullptr));
  Builder builder(OSSL_PARAM_BLD_new());
  Require(
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "secp256k1", 0) &&
          OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_PRIV_KEY, secret.get()) &&
          OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, key.point.data(),
                                           key.point.size()),
      "a key's parameters");
  Params params(OSSL_PARAM_BLD_to_param(builder.get()));
  EvpContext context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* imported = nullptr;
  Require(EVP_PKEY_fromdata_init(context.get()) == 1 &&
              EVP_PKEY_fromdata(context.get(), &imported, EVP_PKEY_KEYPAIR, params.get()) == 1,
          "a key cannot be imported");
  return EvpKey(imported);
}

class OpenSslSession final : public RawSession {
 public:
  explicit OpenSslSession(std::span<const EvpKey> keys) {
    for (const EvpKey& key : keys) {
      EvpContext sign(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
      EvpContext verify(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
      Require(EVP_PKEY_sign_init(sign.get()) == 1, "sign_init");
      Require(EVP_PKEY_verify_init(verify.get()) == 1, "verify_init");
      contexts_.push_back({std::move(sign), std::move(verify)});
    }
  }

  bool Sign(std::size_t key, const bulla::Digest32& digest, RawSignature& out) override {
    out.der = true;
    out.length = out.bytes.size();
    return EVP_PKEY_sign(contexts_[key].sign.get(), out.bytes.data(), &out.length, digest.data(),
                         digest.size()) == 1;
  }

  bool Verify(std::size_t key, const bulla::Digest32& digest,
              const RawSignature& signature) override {
    return EVP_PKEY_verify(contexts_[key].verify.get(), signature.bytes.data(), signature.length,
                           digest.data(), digest.size()) == 1;
  }

 private:
  struct Contexts {
    EvpContext sign;
    EvpContext verify;
  };
  std::vector<Contexts> contexts_;  // of each key
};

class OpenSslEngine final : public RawEngine {
 public:
  explicit OpenSslEngine(std::span<const RawKey> keys) {
    for (const RawKey& key : keys) keys_.push_back(Import(key));
  }
  std::string Version() const override { return OpenSSL_version(OPENSSL_VERSION); }
  std::unique_ptr<RawSession> OpenSession() override {
    return std::make_unique<OpenSslSession>(keys_);
  }

 private:
  std::vector<EvpKey> keys_;
};

}  // namespace

std::unique_ptr<RawEngine> MakeOpenSslEngine(std::span<const RawKey> keys) {
  return std::make_unique<OpenSslEngine>(keys);
}

}  // namespace peers
