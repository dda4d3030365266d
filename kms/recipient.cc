#include "kms/recipient.h"

#include <algorithm>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include <openssl/x509.h>

#include "base/owned.h"
#include "base/random.h"

namespace bulla {
namespace {

using BioPtr = Owned<BIO, BIO_free>;
using BioChainPtr = Owned<BIO, BIO_free_all>;
using KeyPtr = Owned<EVP_PKEY, EVP_PKEY_free>;
using KeyContextPtr = Owned<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using CipherContextPtr = Owned<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using CmsPtr = Owned<CMS_ContentInfo, CMS_ContentInfo_free>;

constexpr int kRsaBits = 2048;  // what KMS takes
constexpr std::size_t kSecretBytes = 32;

absl::Status Malformed() {
  return absl::InvalidArgumentError("CiphertextForRecipient: malformed envelope");
}
absl::Status DoesNotOpen() {
  return absl::InvalidArgumentError("CiphertextForRecipient: does not open");
}

ByteArray<32> Sha256(ByteSpan bytes) {
  ByteArray<32> digest;
  SHA256(bytes.data(), bytes.size(), digest.data());
  return digest;
}

absl::StatusOr<CmsPtr> ParseEnvelope(ByteSpan envelope) {
  if (envelope.size() > kCiphertextForRecipientBytesMax) return Malformed();
  const unsigned char* at = envelope.data();
  CmsPtr cms(d2i_CMS_ContentInfo(nullptr, &at, static_cast<long>(envelope.size())));
  ERR_clear_error();
  // OpenSSL would leave bytes after the structure unseen.
  if (!cms || at != envelope.data() + envelope.size()) return Malformed();
  if (OBJ_obj2nid(CMS_get0_type(cms.get())) != NID_pkcs7_enveloped) return Malformed();
  return cms;
}

// The one recipient of an envelope, who is named by key identifier and addressed with RSA-OAEP.
absl::StatusOr<CMS_RecipientInfo*> OnlyRecipient(CMS_ContentInfo* cms) {
  STACK_OF(CMS_RecipientInfo)* recipients = CMS_get0_RecipientInfos(cms);
  if (!recipients || sk_CMS_RecipientInfo_num(recipients) != 1) return Malformed();
  CMS_RecipientInfo* recipient = sk_CMS_RecipientInfo_value(recipients, 0);
  if (CMS_RecipientInfo_type(recipient) != CMS_RECIPINFO_TRANS) return Malformed();
  X509_ALGOR* algorithm = nullptr;
  if (CMS_RecipientInfo_ktri_get0_algs(recipient, nullptr, nullptr, &algorithm) != 1 ||
      !algorithm) {
    return Malformed();
  }
  const ASN1_OBJECT* oid = nullptr;
  X509_ALGOR_get0(&oid, nullptr, nullptr, algorithm);
  if (OBJ_obj2nid(oid) != NID_rsaesOaep) return Malformed();
  return recipient;
}

absl::StatusOr<ByteSpan> KeyIdentifier(CMS_RecipientInfo* recipient) {
  ASN1_OCTET_STRING* id = nullptr;
  X509_NAME* issuer = nullptr;
  ASN1_INTEGER* serial = nullptr;
  if (CMS_RecipientInfo_ktri_get0_signer_id(recipient, &id, &issuer, &serial) != 1 || !id) {
    return Malformed();
  }
  return ByteSpan(ASN1_STRING_get0_data(id), static_cast<std::size_t>(ASN1_STRING_length(id)));
}

// Reads the decrypted content straight into secret memory: CMS_decrypt would leave a copy on the
// stack. One byte more than is wanted, to see that there is none.
absl::StatusOr<Secret<kSecretBytes>> ReadContent(CMS_ContentInfo* cms) {
  BioChainPtr content(CMS_dataInit(cms, nullptr));
  if (!content) return DoesNotOpen();
  Secret<kSecretBytes + 1> buffer;
  std::size_t filled = 0;
  while (filled < buffer.kBytes) {
    std::size_t got = 0;
    if (BIO_read_ex(content.get(), buffer.Expose().data() + filled, buffer.kBytes - filled, &got) !=
        1) {
      break;
    }
    filled += got;
  }
  if (filled != kSecretBytes || BIO_get_cipher_status(content.get()) != 1) return DoesNotOpen();
  Secret<kSecretBytes> secret;
  std::copy_n(buffer.Expose().begin(), kSecretBytes, secret.Expose().begin());
  return secret;
}

// Appends `tag`, a DER length and the content.
void AppendDer(Bytes& out, std::uint8_t tag, ByteSpan content) {
  out.push_back(tag);
  if (content.size() < 0x80) {
    out.push_back(static_cast<std::uint8_t>(content.size()));
  } else if (content.size() < 0x100) {
    out.insert(out.end(), {0x81, static_cast<std::uint8_t>(content.size())});
  } else {
    out.insert(out.end(), {0x82, static_cast<std::uint8_t>(content.size() >> 8),
                           static_cast<std::uint8_t>(content.size())});
  }
  out.insert(out.end(), content.begin(), content.end());
}

void Append(Bytes& out, ByteSpan bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

constexpr std::uint8_t kEnvelopedDataOid[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                              0xf7, 0x0d, 0x01, 0x07, 0x03};
constexpr std::uint8_t kDataOid[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                     0xf7, 0x0d, 0x01, 0x07, 0x01};
constexpr std::uint8_t kVersion2[] = {0x02, 0x01, 0x02};
// rsaesOaep { [0] { sha256, NULL }, [1] { mgf1 { sha256, NULL } } }
constexpr std::uint8_t kOaepSha256[] = {
    0x30, 0x3c, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07, 0x30, 0x2f, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00};
constexpr std::uint8_t kAes256CbcOid[] = {0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                          0x65, 0x03, 0x04, 0x01, 0x2a};
constexpr std::uint8_t kIndefinite = 0x80;

absl::StatusOr<Bytes> EncryptOaep(EVP_PKEY* key, ByteSpan plaintext) {
  KeyContextPtr context(EVP_PKEY_CTX_new(key, nullptr));
  Bytes out(static_cast<std::size_t>(EVP_PKEY_get_size(key)));
  std::size_t length = out.size();
  if (!context || EVP_PKEY_encrypt_init(context.get()) != 1 ||
      EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) != 1 ||
      EVP_PKEY_CTX_set_rsa_oaep_md(context.get(), EVP_sha256()) != 1 ||
      EVP_PKEY_CTX_set_rsa_mgf1_md(context.get(), EVP_sha256()) != 1 ||
      EVP_PKEY_encrypt(context.get(), out.data(), &length, plaintext.data(), plaintext.size()) !=
          1) {
    return absl::InternalError("RSA-OAEP encryption failed");
  }
  out.resize(length);
  return out;
}

absl::StatusOr<Bytes> EncryptCbc(const Secret<32>& key, const ByteArray<16>& iv,
                                 ByteSpan plaintext) {
  CipherContextPtr context(EVP_CIPHER_CTX_new());
  Bytes out(plaintext.size() + 16);
  int first = 0;
  int last = 0;
  if (!context ||
      EVP_EncryptInit_ex(context.get(), EVP_aes_256_cbc(), nullptr, key.Expose().data(),
                         iv.data()) != 1 ||
      EVP_EncryptUpdate(context.get(), out.data(), &first, plaintext.data(),
                        static_cast<int>(plaintext.size())) != 1 ||
      EVP_EncryptFinal_ex(context.get(), out.data() + first, &last) != 1) {
    return absl::InternalError("AES-256-CBC encryption failed");
  }
  out.resize(static_cast<std::size_t>(first) + static_cast<std::size_t>(last));
  return out;
}

absl::StatusOr<KeyPtr> ParseRsaPublicKey(ByteSpan der) {
  const unsigned char* at = der.data();
  KeyPtr key(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())));
  ERR_clear_error();
  if (!key || at != der.data() + der.size() || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA ||
      EVP_PKEY_get_bits(key.get()) != kRsaBits) {
    return absl::InvalidArgumentError("recipient's public key is not RSA-2048 in DER");
  }
  return key;
}

Bytes KeyTransRecipientInfo(ByteSpan public_key, ByteSpan encrypted_key) {
  Bytes body;
  Append(body, kVersion2);
  AppendDer(body, 0x80, Sha256(public_key));  // [0] subjectKeyIdentifier
  Append(body, kOaepSha256);
  AppendDer(body, 0x04, encrypted_key);
  Bytes out;
  AppendDer(out, 0x30, body);
  return out;
}

}  // namespace

struct Recipient::Key {
  KeyPtr key;
  Bytes public_key;
  ByteArray<32> identifier;  // SHA-256 of public_key
};

Recipient::Recipient(std::unique_ptr<Key> key) : key_(std::move(key)) {}
Recipient::~Recipient() = default;

absl::StatusOr<std::unique_ptr<Recipient>> Recipient::Generate() {
  auto made = std::make_unique<Key>();
  made->key = KeyPtr(EVP_RSA_gen(kRsaBits));
  unsigned char* der = nullptr;
  int length = made->key ? i2d_PUBKEY(made->key.get(), &der) : 0;
  if (length <= 0) return absl::InternalError("cannot make an RSA-2048 key");
  made->public_key.assign(der, der + length);
  OPENSSL_free(der);
  made->identifier = Sha256(made->public_key);
  return std::unique_ptr<Recipient>(new Recipient(std::move(made)));
}

const Bytes& Recipient::public_key() const { return key_->public_key; }

absl::StatusOr<Secret<32>> Recipient::Open(ByteSpan envelope) const {
  BULLA_ASSIGN_OR_RETURN(CmsPtr cms, ParseEnvelope(envelope));
  BULLA_ASSIGN_OR_RETURN(CMS_RecipientInfo * recipient, OnlyRecipient(cms.get()));
  BULLA_ASSIGN_OR_RETURN(ByteSpan identifier, KeyIdentifier(recipient));
  if (!std::equal(identifier.begin(), identifier.end(), key_->identifier.begin(),
                  key_->identifier.end())) {
    return absl::InvalidArgumentError("CiphertextForRecipient: meant for another key");
  }
  if (EVP_PKEY_up_ref(key_->key.get()) != 1) return absl::InternalError("key reference");
  // The recipient takes that reference, even where it fails.
  bool opened = CMS_RecipientInfo_set0_pkey(recipient, key_->key.get()) == 1 &&
                CMS_RecipientInfo_decrypt(cms.get(), recipient) == 1;
  absl::StatusOr<Secret<32>> secret = DoesNotOpen();
  if (opened) secret = ReadContent(cms.get());
  ERR_clear_error();
  return secret;
}

absl::StatusOr<Bytes> SealForRecipient(ByteSpan public_key, ByteSpan plaintext) {
  BULLA_ASSIGN_OR_RETURN(KeyPtr key, ParseRsaPublicKey(public_key));
  Secret<32> content_key;
  ByteArray<16> iv;
  FillRandom(content_key.Expose());
  FillRandom(iv);
  BULLA_ASSIGN_OR_RETURN(Bytes encrypted_key, EncryptOaep(key.get(), content_key.Expose()));
  BULLA_ASSIGN_OR_RETURN(Bytes content, EncryptCbc(content_key, iv, plaintext));

  Bytes algorithm(std::begin(kAes256CbcOid), std::end(kAes256CbcOid));
  AppendDer(algorithm, 0x04, iv);

  // The shape of AWS's envelopes: indefinite lengths outside, definite ones for the recipient.
  Bytes out = {0x30, kIndefinite};  // ContentInfo
  Append(out, kEnvelopedDataOid);
  out.insert(out.end(), {0xa0, kIndefinite, 0x30, kIndefinite});  // [0] EnvelopedData
  Append(out, kVersion2);
  // RecipientInfos
  AppendDer(out, 0x31, KeyTransRecipientInfo(public_key, encrypted_key));
  out.insert(out.end(), {0x30, kIndefinite});  // EncryptedContentInfo
  Append(out, kDataOid);
  AppendDer(out, 0x30, algorithm);
  out.insert(out.end(), {0xa0, kIndefinite});  // [0] the content, in one chunk
  AppendDer(out, 0x04, content);
  out.insert(out.end(), 2 * 5, 0x00);  // five ends
  return out;
}

absl::StatusOr<Bytes> EnvelopeKeyIdentifier(ByteSpan envelope) {
  BULLA_ASSIGN_OR_RETURN(CmsPtr cms, ParseEnvelope(envelope));
  BULLA_ASSIGN_OR_RETURN(CMS_RecipientInfo * recipient, OnlyRecipient(cms.get()));
  BULLA_ASSIGN_OR_RETURN(ByteSpan identifier, KeyIdentifier(recipient));
  return Bytes(identifier.begin(), identifier.end());
}

}  // namespace bulla
