#pragma once

// Making X.509 certificates, for the two authorities of development: the simulated Nitro root and
// the local KMS's TLS. Handles are OpenSSL's objects without OpenSSL's headers.

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/status.h"

struct evp_pkey_st;
struct x509_st;

namespace bulla {

using KeyHandle = std::shared_ptr<evp_pkey_st>;
using CertificateHandle = std::shared_ptr<x509_st>;

enum class Curve { kP256, kP384 };
absl::StatusOr<KeyHandle> NewEcKey(Curve curve);

struct CertificateSpec {
  std::string organizational_unit;
  std::string common_name;
  WallTime not_before;
  WallTime not_after;
  // In OpenSSL's configuration syntax, e.g. "critical,CA:FALSE".
  std::string basic_constraints;
  std::string key_usage;
  std::string subject_alt_name;  // empty: none
};

// Who signs. Without a certificate the subject signs itself.
struct CertificateIssuer {
  CertificateHandle certificate;
  KeyHandle key;
};

// Signed with SHA-384.
absl::StatusOr<CertificateHandle> IssueCertificate(const CertificateSpec& spec,
                                                   const KeyHandle& subject_key,
                                                   const CertificateIssuer& issuer);

absl::StatusOr<Bytes> CertificateToDer(const CertificateHandle& certificate);

// Files appear whole or not at all; that of a key can be read by its owner only.
absl::Status WriteKeyPem(const KeyHandle& key, const std::string& path);
absl::Status WriteCertificatePem(const CertificateHandle& certificate, const std::string& path);
absl::StatusOr<KeyHandle> ReadKeyPem(const std::string& path);
absl::StatusOr<CertificateHandle> ReadCertificatePem(const std::string& path);

}  // namespace bulla
