#pragma once

// Attestation documents of the Nitro Secure Module: what runs in an enclave, signed by a chain that
// ends in AWS's root. A document is a COSE_Sign1 (RFC 9052) over a CBOR map. Verifying one says
// that the hardware wrote it; whether what it says is *wanted* (measurements, nonce, age, the key
// it carries) is for the caller to check: MeasurementPolicy for the first, the rest by comparison.
// Format: AWS's nsm-api, docs/attestation_process.md, and six real documents.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/status.h"

namespace bulla {

using Pcr = ByteArray<48>;  // a measurement register: SHA-384
inline constexpr int kPcrCount = 32;

// COSE protects a payload of at most 16 KiB; heads, protected header and signature take under 128.
inline constexpr std::size_t kAttestationPayloadBytesMax = 16384;
inline constexpr std::size_t kAttestationDocumentBytesMax = kAttestationPayloadBytesMax + 128;

struct AttestationDocument {
  std::string module_id;
  WallTime issued_at;            // by the clock of the hypervisor
  std::map<int, Pcr> pcrs;       // the locked ones
  Bytes certificate;             // leaf, DER
  std::vector<Bytes> ca_bundle;  // root first, DER
  std::optional<Bytes> public_key;
  std::optional<Bytes> user_data;
  std::optional<Bytes> nonce;

  // True for an enclave started in debug mode: PCR0, 1 and 2 are zero (or missing), and anyone on
  // the parent reads its console. Such a document verifies like any other.
  bool IsDebug() const;
};

// The one root that is believed, by the SHA-256 of its certificate's DER.
struct TrustAnchor {
  ByteArray<32> root_sha256{};

  static TrustAnchor AwsNitro();
  // From the root certificate itself, as simulated ones are given.
  static absl::StatusOr<TrustAnchor> FromPem(std::string_view pem);
};

// "AWS Nitro Enclaves Root-G1", valid 2019 to 2049. (The figure that AWS's pages print beside the
// download is that of the ZIP file around it.)
inline constexpr ByteArray<32> kAwsNitroRootSha256 = {
    0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06, 0x31,
    0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79, 0xbb, 0x5b};

// Parses without verifying anything. INVALID_ARGUMENT when the bytes break the format's rules.
absl::StatusOr<AttestationDocument> ParseAttestationDocument(ByteSpan document);

// Parses, and checks the certificate chain up to `root` at `now` and the signature by the leaf.
// INVALID_ARGUMENT for malformed bytes, PERMISSION_DENIED for a document that is not to be
// believed. A leaf that becomes valid up to a minute after `now` is taken: leaves are back-dated by
// three seconds only, and clocks differ.
absl::StatusOr<AttestationDocument> VerifyAttestationDocument(ByteSpan document,
                                                              const TrustAnchor& root,
                                                              WallTime now);

// Which enclave images are wanted.
struct MeasurementPolicy {
  std::map<int, Pcr> expected;  // registers not named may have any value
  bool allow_debug = false;

  // PERMISSION_DENIED that names the register that differs.
  absl::Status Check(const AttestationDocument& document) const;
};

}  // namespace bulla
