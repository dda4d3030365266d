#pragma once

// The error table: one list for HTTP, gRPC and the inside of the house. This file alone knows what
// each error is called, which statuses carry it, and whether trying again can help.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/unlock_cause.h"

namespace bulla {

enum class ErrorCode : std::uint8_t {
  kOk = 0,
  kInvalidArgument,   // the request is malformed; the message says what arrived and what was wanted
  kUnauthenticated,   // no valid credentials
  kPermissionDenied,  // valid credentials without the right
  kInvalidKey,        // no such key, or a disabled one
  kPayloadTooLarge,   // the body is over the limit
  kRetryLater,        // overload: refused before any work was done
  kUnlockRequired,    // the key's data key is not open in an enclave; an unlock is under way
  kUnavailable,       // no enclave can take the call now, or the one that had it was lost
  kInternal,          // our own fault
  // UNLOCK_REQUIRED to callers, who are told that waiting is not enough: KMS refuses the key's data
  // key. One for each final UnlockCause.
  kKmsAccessDenied,
  kKmsKeyNotFound,
  kKmsKeyDisabled,
  kKmsForeignCiphertext,
  kKmsRefused,
};
inline constexpr int kErrorCodeCount = 15;

struct ErrorRow {
  ErrorCode code;
  std::string_view name;  // as callers see it
  int http_status;
  int grpc_status;           // a value of grpc::StatusCode
  bool retryable;            // carries a retry hint
  std::string_view message;  // for refusals on the hot path, which carry no message of their own
};

// The row of `code`. kOk has one too: "OK", 200, 0.
const ErrorRow& ErrorRowOf(ErrorCode code);

// What callers are told whose keys are under a data key that could not be had; kUnlockRequired
// where it may pass.
ErrorCode ErrorOf(UnlockCause cause);

// An error on its way to a caller. An empty message stands for the row's.
struct Error {
  ErrorCode code = ErrorCode::kOk;
  std::string message;
  // At least: for what is not over in the moments that the code's own hint is for. 0: that hint.
  std::uint32_t retry_after_min_ms = 0;

  bool ok() const { return code == ErrorCode::kOk; }
  std::string_view Message() const {
    return message.empty() ? ErrorRowOf(code).message : std::string_view(message);
  }
};

// Between which callers are told to come back, in ms. `max` below `min` counts as `min`.
struct RetryHint {
  std::uint32_t min_ms = 50;  // spec, "Configuration baseline"
  std::uint32_t max_ms = 200;
};

// How long a caller should wait: as `hint` has it, or half a minute to a minute where KMS refuses,
// spread evenly by `random` so that callers do not come back together. 0 for an error that is not
// retryable.
std::uint32_t RetryAfterMs(ErrorCode code, RetryHint hint, std::uint64_t random);
// The same for one that may know better: from what it says to half as much again.
std::uint32_t RetryAfterMs(const Error& error, RetryHint hint, std::uint64_t random);

}  // namespace bulla
