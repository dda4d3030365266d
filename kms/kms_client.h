#pragma once

// The enclave's client of AWS KMS: gets data keys, and proves with each call what runs here. The
// TLS session ends in this process, since whoever could speak in KMS's place could hand us a data
// key of their choosing; each request carries an attestation document, so KMS answers encrypted to
// this enclave's recipient key and never in plain text.
//
// HTTP/1.1 over OpenSSL over whatever connected socket `dial` returns (vsock, Unix, TCP).
// Protocol: AWS JSON 1.1, POST / with X-Amz-Target: TrentService.<Operation>, SigV4.

#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/unlock_cause.h"
#include "crypto/secret.h"
#include "kms/nsm.h"
#include "kms/recipient.h"
#include "kms/sigv4.h"

namespace bulla {

inline constexpr std::size_t kWrappedDekBytesMax = 6144;  // KMS's limit for a CiphertextBlob

struct KmsClientOptions {
  // Returns a connected stream socket whose other end leads to KMS. Blocking; bounds its own time.
  std::function<absl::StatusOr<UniqueFd>()> dial;
  std::string kms_host;  // as the certificate and the Host header name it
  std::string region;
  std::string key_arn;  // the CMK; every reply must name it
  std::string ca_pem;   // trust roots for TLS: the text of a PEM bundle
  Nsm* nsm = nullptr;   // these outlive the client
  const Recipient* recipient = nullptr;
  const Clock* clock = nullptr;
};

struct DataKey {
  Secret<32> plaintext;
  Bytes wrapped;       // KMS CiphertextBlob, for DecryptBlocking
  std::string key_id;  // ARN of the CMK
};

// Statuses: UNAVAILABLE (KMS or the way to it; try again), RESOURCE_EXHAUSTED (throttled, or over
// our own bound on calls at once; try again later), DEADLINE_EXCEEDED, UNAUTHENTICATED
// (credentials or clock), PERMISSION_DENIED (key policy, or a peer that is not KMS), NOT_FOUND,
// INVALID_ARGUMENT (blob or context; or credentials that AWS never issued), FAILED_PRECONDITION
// (key disabled), INTERNAL (a reply that breaks the protocol). Each says its cause
// (base/unlock_cause.h).
//
// Thread-safe; each call uses a connection of its own, kept alive for the next one.
class KmsClient {
 public:
  static absl::StatusOr<std::unique_ptr<KmsClient>> Create(KmsClientOptions options);
  ~KmsClient();

  // A new data key under the CMK, bound to `dek_id` by the encryption context.
  absl::StatusOr<DataKey> GenerateDataKeyBlocking(const AwsCredentials& credentials,
                                                  const DekId& dek_id, MonotonicTime deadline);
  // Opens what GenerateDataKeyBlocking wrapped for the same `dek_id`.
  absl::StatusOr<Secret<32>> DecryptBlocking(const AwsCredentials& credentials, ByteSpan wrapped,
                                             const DekId& dek_id, MonotonicTime deadline);

 private:
  class Impl;
  explicit KmsClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The status for an error reply, by its name (`__type`, or x-amzn-ErrorType), and by the HTTP
// status where the name is unknown.
absl::Status KmsErrorToStatus(std::string_view name, std::string_view message, int http_status);

}  // namespace bulla
