#include "wire/errors.h"

#include <algorithm>

#include "base/check.h"

namespace bulla {
namespace {

// Somebody has to change something in KMS first; what is refused is tried there every few minutes
// (gateway/unlock/queue.h), and sooner when somebody says so.
constexpr RetryHint kRefusedRetryHint{.min_ms = 30'000, .max_ms = 60'000};

// The gRPC numbers: INVALID_ARGUMENT 3, NOT_FOUND 5, PERMISSION_DENIED 7, RESOURCE_EXHAUSTED 8,
// INTERNAL 13, UNAVAILABLE 14, UNAUTHENTICATED 16 (grpc.io, "Status codes").
constexpr ErrorRow kRows[kErrorCodeCount] = {
    {ErrorCode::kOk, "OK", 200, 0, false, "ok"},
    {ErrorCode::kInvalidArgument, "INVALID_ARGUMENT", 400, 3, false, "the request is malformed"},
    {ErrorCode::kUnauthenticated, "UNAUTHENTICATED", 401, 16, false, "credentials are required"},
    {ErrorCode::kPermissionDenied, "PERMISSION_DENIED", 403, 7, false,
     "these credentials do not permit this call"},
    {ErrorCode::kInvalidKey, "INVALID_KEY", 404, 5, false,
     "there is no such key, or it is disabled"},
    {ErrorCode::kPayloadTooLarge, "PAYLOAD_TOO_LARGE", 413, 8, false,
     "the request is larger than the limit"},
    {ErrorCode::kRetryLater, "RETRY_LATER", 429, 8, true,
     "the service is at its limit; nothing was done; try again after the given delay"},
    {ErrorCode::kUnlockRequired, "UNLOCK_REQUIRED", 503, 14, true,
     "the key is being unlocked in the background; try again after the given delay"},
    {ErrorCode::kUnavailable, "UNAVAILABLE", 503, 14, true,
     "no enclave can take the call now; try again after the given delay"},
    {ErrorCode::kInternal, "INTERNAL", 500, 13, false,
     "an internal error; the request id names it in the logs"},
    {ErrorCode::kKmsAccessDenied, "UNLOCK_REQUIRED", 503, 14, true,
     "this key's data key cannot be opened: KMS refuses it (access denied)"},
    {ErrorCode::kKmsKeyNotFound, "UNLOCK_REQUIRED", 503, 14, true,
     "this key's data key cannot be opened: the KMS key that wrapped it is not there (not found)"},
    {ErrorCode::kKmsKeyDisabled, "UNLOCK_REQUIRED", 503, 14, true,
     "this key's data key cannot be opened: the KMS key that wrapped it is disabled, or about to "
     "be "
     "deleted"},
    {ErrorCode::kKmsForeignCiphertext, "UNLOCK_REQUIRED", 503, 14, true,
     "this key's data key cannot be opened: KMS does not know what is stored of it (invalid "
     "ciphertext)"},
    {ErrorCode::kKmsRefused, "UNLOCK_REQUIRED", 503, 14, true,
     "this key's data key cannot be opened: KMS refuses it; the gateway's status says why"},
};

}  // namespace

const ErrorRow& ErrorRowOf(ErrorCode code) {
  auto index = static_cast<std::size_t>(code);
  BULLA_CHECK(index < kErrorCodeCount && kRows[index].code == code, "the error table is complete");
  return kRows[index];
}

ErrorCode ErrorOf(UnlockCause cause) {
  switch (cause) {
    case UnlockCause::kAccessDenied:
      return ErrorCode::kKmsAccessDenied;
    case UnlockCause::kKeyNotFound:
      return ErrorCode::kKmsKeyNotFound;
    case UnlockCause::kKeyDisabled:
      return ErrorCode::kKmsKeyDisabled;
    case UnlockCause::kForeignCiphertext:
      return ErrorCode::kKmsForeignCiphertext;
    case UnlockCause::kRefused:
      return ErrorCode::kKmsRefused;
    case UnlockCause::kOther:
    case UnlockCause::kUnavailable:
    case UnlockCause::kThrottled:
    case UnlockCause::kCredentials:
      break;
  }
  return ErrorCode::kUnlockRequired;
}

std::uint32_t RetryAfterMs(ErrorCode code, RetryHint hint, std::uint64_t random) {
  if (!ErrorRowOf(code).retryable) return 0;
  const bool refused = code >= ErrorCode::kKmsAccessDenied;
  const auto [min_ms, max_ms] = refused ? kRefusedRetryHint : hint;
  const std::uint64_t choices = std::uint64_t{std::max(min_ms, max_ms)} - min_ms + 1;
  return min_ms + static_cast<std::uint32_t>(random % choices);
}

std::uint32_t RetryAfterMs(const Error& error, RetryHint hint, std::uint64_t random) {
  const std::uint32_t min_ms = error.retry_after_min_ms;
  if (min_ms == 0 || !ErrorRowOf(error.code).retryable) {
    return RetryAfterMs(error.code, hint, random);
  }
  return min_ms + static_cast<std::uint32_t>(random % (min_ms / 2 + 1));
}

}  // namespace bulla
