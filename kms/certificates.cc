#include "kms/certificates.h"

#include <cerrno>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/errno_text.h"
#include "base/file.h"
#include "base/owned.h"
#include "base/random.h"

namespace bulla {
namespace {

using BioPtr = Owned<BIO, BIO_free>;
using NamePtr = Owned<X509_NAME, X509_NAME_free>;
using ExtensionPtr = Owned<X509_EXTENSION, X509_EXTENSION_free>;

absl::Status OpensslError(std::string_view what) {
  return absl::InternalError(fmt::format("OpenSSL: {} failed", what));
}

bool AddNameEntry(X509_NAME* name, const char* field, std::string_view value) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

bool SetTimes(X509* certificate, const CertificateSpec& spec) {
  using std::chrono::system_clock;
  return ASN1_TIME_set(X509_getm_notBefore(certificate),
                       system_clock::to_time_t(spec.not_before)) &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), system_clock::to_time_t(spec.not_after));
}

bool AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

absl::Status WriteContent(BIO* content, const std::string& path, mode_t mode) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(content, &data);
  return WriteFileAtomically(path, std::string_view(data, static_cast<std::size_t>(size)), mode);
}

absl::StatusOr<BioPtr> OpenFile(const std::string& path) {
  errno = 0;
  BioPtr file(BIO_new_file(path.c_str(), "r"));
  if (!file)
    return absl::UnavailableError(fmt::format("cannot open {}: {}", path, ErrnoText(errno)));
  return file;
}

}  // namespace

absl::StatusOr<KeyHandle> NewEcKey(Curve curve) {
  KeyHandle key(EVP_EC_gen(curve == Curve::kP256 ? "P-256" : "P-384"), EVP_PKEY_free);
  if (!key) return OpensslError("making a key");
  return key;
}

absl::StatusOr<CertificateHandle> IssueCertificate(const CertificateSpec& spec,
                                                   const KeyHandle& subject_key,
                                                   const CertificateIssuer& issuer) {
  CertificateHandle certificate(X509_new(), X509_free);
  NamePtr name(X509_NAME_new());
  if (!certificate || !name) return OpensslError("allocating a certificate");
  X509* x509 = certificate.get();
  X509* issuing = issuer.certificate ? issuer.certificate.get() : x509;
  EVP_PKEY* issuing_key = issuer.certificate ? issuer.key.get() : subject_key.get();
  std::uint64_t serial = RandomUint64() >> 1;  // a positive integer
  bool made = AddNameEntry(name.get(), "O", "Bulla") &&
              AddNameEntry(name.get(), "OU", spec.organizational_unit) &&
              AddNameEntry(name.get(), "CN", spec.common_name) &&
              X509_set_version(x509, X509_VERSION_3) == 1 &&
              ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial) == 1 &&
              SetTimes(x509, spec) && X509_set_subject_name(x509, name.get()) == 1 &&
              X509_set_issuer_name(x509, X509_get_subject_name(issuing)) == 1 &&
              X509_set_pubkey(x509, subject_key.get()) == 1 &&
              AddExtension(x509, issuing, NID_basic_constraints, spec.basic_constraints) &&
              AddExtension(x509, issuing, NID_key_usage, spec.key_usage) &&
              (spec.subject_alt_name.empty() ||
               AddExtension(x509, issuing, NID_subject_alt_name, spec.subject_alt_name)) &&
              X509_sign(x509, issuing_key, EVP_sha384()) != 0;
  if (!made) return OpensslError("making a certificate");
  return certificate;
}

absl::StatusOr<Bytes> CertificateToDer(const CertificateHandle& certificate) {
  unsigned char* der = nullptr;
  int length = i2d_X509(certificate.get(), &der);
  if (length <= 0) return OpensslError("encoding a certificate");
  Bytes out(der, der + length);
  OPENSSL_free(der);
  return out;
}

absl::Status WriteKeyPem(const KeyHandle& key, const std::string& path) {
  BioPtr pem(BIO_new(BIO_s_secmem()));  // wiped when freed
  if (!pem || PEM_write_bio_PKCS8PrivateKey(pem.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                            nullptr) != 1) {
    return OpensslError("encoding a key");
  }
  return WriteContent(pem.get(), path, 0600);
}

absl::Status WriteCertificatePem(const CertificateHandle& certificate, const std::string& path) {
  BioPtr pem(BIO_new(BIO_s_mem()));
  if (!pem || PEM_write_bio_X509(pem.get(), certificate.get()) != 1) {
    return OpensslError("encoding a certificate");
  }
  return WriteContent(pem.get(), path, 0644);
}

absl::StatusOr<KeyHandle> ReadKeyPem(const std::string& path) {
  BULLA_ASSIGN_OR_RETURN(BioPtr file, OpenFile(path));
  KeyHandle key(PEM_read_bio_PrivateKey(file.get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
  if (!key) return absl::FailedPreconditionError(fmt::format("{}: no private key there", path));
  return key;
}

absl::StatusOr<CertificateHandle> ReadCertificatePem(const std::string& path) {
  BULLA_ASSIGN_OR_RETURN(BioPtr file, OpenFile(path));
  CertificateHandle certificate(PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr),
                                X509_free);
  if (!certificate) {
    return absl::FailedPreconditionError(fmt::format("{}: no certificate there", path));
  }
  return certificate;
}

}  // namespace bulla
