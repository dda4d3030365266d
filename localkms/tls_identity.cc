#include "localkms/tls_identity.h"

#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "kms/certificates.h"

namespace bulla {
namespace {

constexpr std::string_view kUnit = "Local KMS";
constexpr auto kLife = std::chrono::hours(24 * 825);  // the most that some TLS clients take
constexpr auto kBackDating = std::chrono::minutes(5);

bool StillGood(const TlsFiles& files, const std::string& host, WallTime now) {
  std::error_code error;
  if (!std::filesystem::exists(files.ca, error)) return false;
  absl::StatusOr<CertificateHandle> certificate = ReadCertificatePem(files.certificate);
  absl::StatusOr<KeyHandle> key = ReadKeyPem(files.key);
  if (!certificate.ok() || !key.ok()) return false;
  std::time_t at = std::chrono::system_clock::to_time_t(now);
  return X509_check_private_key(certificate->get(), key->get()) == 1 &&
         X509_cmp_time(X509_get0_notAfter(certificate->get()), &at) > 0 &&
         X509_check_host(certificate->get(), host.c_str(), host.size(), 0, nullptr) == 1;
}

absl::Status Make(const TlsFiles& files, const std::string& host, WallTime now) {
  CertificateSpec ca_spec{.organizational_unit = std::string(kUnit),
                          .common_name = "Bulla development authority",
                          .not_before = now - kBackDating,
                          .not_after = now + kLife,
                          .basic_constraints = "critical,CA:TRUE,pathlen:0",
                          .key_usage = "critical,keyCertSign",
                          .subject_alt_name = ""};
  CertificateSpec spec{.organizational_unit = std::string(kUnit),
                       .common_name = host,
                       .not_before = now - kBackDating,
                       .not_after = now + kLife,
                       .basic_constraints = "critical,CA:FALSE",
                       .key_usage = "critical,digitalSignature",
                       .subject_alt_name = fmt::format("DNS:localhost,IP:127.0.0.1,DNS:{}", host)};
  BULLA_ASSIGN_OR_RETURN(KeyHandle ca_key, NewEcKey(Curve::kP256));
  BULLA_ASSIGN_OR_RETURN(CertificateHandle ca, IssueCertificate(ca_spec, ca_key, {}));
  BULLA_ASSIGN_OR_RETURN(KeyHandle key, NewEcKey(Curve::kP256));
  BULLA_ASSIGN_OR_RETURN(CertificateHandle certificate, IssueCertificate(spec, key, {ca, ca_key}));
  BULLA_RETURN_IF_ERROR(WriteKeyPem(key, files.key));
  BULLA_RETURN_IF_ERROR(WriteCertificatePem(certificate, files.certificate));
  return WriteCertificatePem(ca, files.ca);
}

}  // namespace

absl::StatusOr<TlsFiles> MakeTlsIdentity(const std::string& dir, const std::string& region,
                                         WallTime now) {
  TlsFiles files{dir + "/ca.pem", dir + "/cert.pem", dir + "/key.pem"};
  std::string host = fmt::format("kms.{}.amazonaws.com", region);
  std::error_code error;
  if (std::filesystem::create_directories(dir, error)) ::chmod(dir.c_str(), 0700);
  if (!StillGood(files, host, now)) BULLA_RETURN_IF_ERROR(Make(files, host, now));
  return files;
}

}  // namespace bulla
