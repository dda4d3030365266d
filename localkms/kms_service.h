#pragma once

// AWS KMS's JSON 1.1 protocol, as much of it as Bulla and `aws kms` need: CreateKey, DescribeKey,
// ListKeys, GenerateDataKey, Encrypt, Decrypt, with `Recipient` and encryption contexts, behind
// SigV4. Requests in, replies out: no I/O but the key ring's. Errors carry AWS's names.

#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attest/attestation_document.h"
#include "base/clock.h"
#include "kms/sigv4.h"
#include "localkms/key_ring.h"

namespace bulla {

struct KmsRequest {
  std::string method;
  std::string target;  // "/" for every operation
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;

  // The value of a header that is there exactly once.
  std::optional<std::string_view> Header(std::string_view name) const;
};

struct KmsReply {
  int status = 200;
  std::string body;
};

struct KmsServiceOptions {
  std::string region;
  std::vector<AwsCredentials> credentials;  // who may call
  // Whose attestation documents are believed; without it `Recipient` is refused.
  std::optional<TrustAnchor> attestation_root;
};

// Thread-safe.
class KmsService {
 public:
  // `keys` and `clock` outlive the service.
  KmsService(KmsServiceOptions options, KeyRing& keys, const Clock& clock);

  KmsReply Handle(const KmsRequest& request);

 private:
  enum Operation {
    kCreateKey,
    kDescribeKey,
    kListKeys,
    kGenerateDataKey,
    kEncrypt,
    kDecrypt,
    kOperations
  };
  static const std::array<std::string_view, kOperations> kOperationNames;

  absl::StatusOr<std::string> Run(const KmsRequest& request);
  absl::Status Authenticate(const KmsRequest& request) const;
  std::string Stats() const;

  const KmsServiceOptions options_;
  KeyRing& keys_;
  const Clock& clock_;
  // Authenticated calls since start, refused ones included.
  std::array<std::atomic<std::int64_t>, kOperations> calls_{};
};

}  // namespace bulla
