#pragma once

// The Nitro Secure Module: the hypervisor's device that measures an enclave, signs attestation
// documents and gives randomness. Requests and replies are CBOR; the codec is here, and the two
// implementations (the device, and a simulated one for development) only carry its bytes, so that
// both run through the same code. Format: AWS's nsm-api, src/api/mod.rs.

#include <cstdint>
#include <optional>
#include <string_view>

#include "attest/attestation_document.h"
#include "base/bytes.h"
#include "base/status.h"

namespace bulla {

// Limits of the Linux driver (include/uapi/linux/nsm.h).
inline constexpr std::size_t kNsmRequestBytesMax = 0x1000;
inline constexpr std::size_t kNsmResponseBytesMax = 0x3000;
inline constexpr std::size_t kNsmRandomBytes = 256;

struct PcrState {
  bool locked = false;
  Pcr value{};
};

// Thread-safe. Calls block for as long as the module takes: microseconds to milliseconds.
class Nsm {
 public:
  virtual ~Nsm() = default;

  // "nitro" or "simulated": shown in health, logs and metrics.
  virtual std::string_view platform() const = 0;

  // A signed document that carries the given fields (at most 1024 bytes each).
  absl::StatusOr<Bytes> Attest(std::optional<Bytes> user_data, std::optional<Bytes> nonce,
                               std::optional<Bytes> public_key);
  // 256 random bytes. Mix them with the kernel's, then wipe them.
  absl::StatusOr<Bytes> GetRandom();
  // Requires: 0 <= index < kPcrCount.
  absl::StatusOr<PcrState> DescribePcr(int index);

 private:
  // One request to the module and its reply, both as the driver carries them.
  virtual absl::StatusOr<Bytes> Exchange(ByteSpan request) = 0;
};

// The codec, one function per direction and message.

struct NsmAttestRequest {
  std::optional<Bytes> user_data;
  std::optional<Bytes> nonce;
  std::optional<Bytes> public_key;
};
Bytes EncodeAttestRequest(const NsmAttestRequest& request);
Bytes EncodeGetRandomRequest();
Bytes EncodeDescribePcrRequest(int index);

// What a module answers. An {"Error": text} comes back as a Status that names it.
absl::StatusOr<Bytes> DecodeAttestReply(ByteSpan reply);
absl::StatusOr<Bytes> DecodeGetRandomReply(ByteSpan reply);
absl::StatusOr<PcrState> DecodeDescribePcrReply(ByteSpan reply);

}  // namespace bulla
