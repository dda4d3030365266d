#pragma once

// Why a data key could not be had, in the words of all who hand it on: the KMS client knows from
// KMS's answer, the gateway counts by it and decides when to ask again. A payload of absl::Status;
// between enclave and gateway the details of a gRPC status.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace bulla {

enum class UnlockCause : std::uint8_t {
  kOther = 0,  // unknown: an enclave of another version, or our own fault
  // These may pass by themselves.
  kUnavailable,  // KMS, or the way to it or to the enclave
  kThrottled,    // KMS's limit, or ours
  kCredentials,  // expired or refused: renewed ones come by themselves
  // These stand until somebody changes something in KMS or in the store.
  kAccessDenied,       // by the key policy; or who answers is not KMS
  kKeyNotFound,        // the CMK
  kKeyDisabled,        // the CMK: disabled, or waiting to be deleted
  kForeignCiphertext,  // wrapped by another CMK, for another DEK, or damaged
  kRefused,            // anything else that KMS will not do
};
inline constexpr int kUnlockCauseCount = 9;

// Whether trying again soon is in vain.
bool IsFinal(UnlockCause cause);
// "access_denied": a label of metrics, and what the status shows.
std::string_view NameOf(UnlockCause cause);

// kOther when the status says none, or kUnavailable when its code does.
UnlockCause CauseOf(const absl::Status& status);
absl::Status WithCause(absl::Status status, UnlockCause cause);

// As details of a gRPC status. Takes any bytes: an unknown cause is kOther.
std::string EncodeCause(UnlockCause cause);
UnlockCause DecodeCause(std::string_view details);

}  // namespace bulla
