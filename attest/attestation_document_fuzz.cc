// Documents come from whoever can reach us. The second anchor is the root that the input itself
// carries, so that chain and signature checks are reached too.

#include <cstdint>
#include <openssl/sha.h>

#include "attest/attestation_document.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bulla;
  ByteSpan input(data, size);
  auto parsed = ParseAttestationDocument(input);
  if (!parsed.ok()) return 0;
  static_cast<void>(MeasurementPolicy().Check(*parsed));
  TrustAnchor own;
  const Bytes& root = parsed->ca_bundle.front();
  SHA256(root.data(), root.size(), own.root_sha256.data());
  static_cast<void>(VerifyAttestationDocument(input, own, parsed->issued_at));
  return 0;
}
