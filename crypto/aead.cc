#include "crypto/aead.h"

#include <fmt/format.h>
#include <memory>
#include <openssl/evp.h>
#include <type_traits>

namespace bulla {
namespace {

struct ContextDeleter {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }  // and wipes
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, ContextDeleter>;

absl::Status CheckSizes(std::size_t associated, std::size_t text, std::size_t sealed) {
  if (associated > kAeadTextBytesMax || text > kAeadTextBytesMax) {
    return absl::InvalidArgumentError(
        fmt::format("AES-GCM: {} bytes of text and {} associated, at most {} each", text,
                    associated, kAeadTextBytesMax));
  }
  if (sealed != text + kAeadTagBytes) {
    return absl::InvalidArgumentError(fmt::format(
        "AES-GCM: {} sealed bytes for {} of text, want {}", sealed, text, text + kAeadTagBytes));
  }
  return absl::OkStatus();
}

absl::Status LibraryFailed() { return absl::InternalError("AES-GCM: OpenSSL failed"); }

bool Encrypt(EVP_CIPHER_CTX* context, const Secret<32>& key, const std::uint8_t* nonce,
             ByteSpan associated, ByteSpan plaintext, MutableByteSpan sealed) {
  int length = 0;
  return EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nullptr, key.Expose().data(), nonce) &&
         EVP_EncryptUpdate(context, nullptr, &length, associated.data(),
                           static_cast<int>(associated.size())) &&
         EVP_EncryptUpdate(context, sealed.data(), &length, plaintext.data(),
                           static_cast<int>(plaintext.size())) &&
         EVP_EncryptFinal_ex(context, sealed.data() + plaintext.size(), &length) &&
         EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kAeadTagBytes,
                             sealed.data() + plaintext.size());
}

// Everything but the tag's verdict.
bool Decrypt(EVP_CIPHER_CTX* context, const Secret<32>& key, const std::uint8_t* nonce,
             ByteSpan associated, ByteSpan ciphertext, ByteSpan tag, MutableByteSpan plaintext) {
  int length = 0;
  return EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nullptr, key.Expose().data(), nonce) &&
         EVP_DecryptUpdate(context, nullptr, &length, associated.data(),
                           static_cast<int>(associated.size())) &&
         EVP_DecryptUpdate(context, plaintext.data(), &length, ciphertext.data(),
                           static_cast<int>(ciphertext.size())) &&
         EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kAeadTagBytes,
                             const_cast<std::uint8_t*>(tag.data()));  // read only
}

}  // namespace

absl::Status AeadSeal(const Secret<32>& key, const ByteArray<kAeadNonceBytes>& nonce,
                      ByteSpan associated, ByteSpan plaintext, MutableByteSpan sealed) {
  BULLA_RETURN_IF_ERROR(CheckSizes(associated.size(), plaintext.size(), sealed.size()));
  Context context(EVP_CIPHER_CTX_new());
  if (context == nullptr ||
      !Encrypt(context.get(), key, nonce.data(), associated, plaintext, sealed)) {
    Wipe(sealed);
    return LibraryFailed();
  }
  return absl::OkStatus();
}

absl::Status AeadOpen(const Secret<32>& key, const ByteArray<kAeadNonceBytes>& nonce,
                      ByteSpan associated, ByteSpan sealed, MutableByteSpan plaintext) {
  // Whatever goes wrong below, no unauthenticated byte may stay in `plaintext`.
  Wipe(plaintext);
  BULLA_RETURN_IF_ERROR(CheckSizes(associated.size(), plaintext.size(), sealed.size()));
  Context context(EVP_CIPHER_CTX_new());
  if (context == nullptr ||
      !Decrypt(context.get(), key, nonce.data(), associated, sealed.first(plaintext.size()),
               sealed.last(kAeadTagBytes), plaintext)) {
    Wipe(plaintext);
    return LibraryFailed();
  }
  int length = 0;
  std::uint8_t nothing_more[1];
  if (EVP_DecryptFinal_ex(context.get(), nothing_more, &length) != 1) {
    Wipe(plaintext);
    return absl::DataLossError("AES-GCM: what was sealed has been changed, or the key is another");
  }
  return absl::OkStatus();
}

}  // namespace bulla
