#include "wire/errors.h"

#include "base/check.h"

namespace bulla {
namespace {

constexpr std::uint32_t kRetryAfterMinMs = 50;  // spec, "Configuration baseline"
constexpr std::uint32_t kRetryAfterMaxMs = 200;

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
};

}  // namespace

const ErrorRow& ErrorRowOf(ErrorCode code) {
  auto index = static_cast<std::size_t>(code);
  BULLA_CHECK(index < kErrorCodeCount && kRows[index].code == code, "the error table is complete");
  return kRows[index];
}

std::uint32_t RetryAfterMs(ErrorCode code, std::uint64_t random) {
  if (!ErrorRowOf(code).retryable) return 0;
  return kRetryAfterMinMs +
         static_cast<std::uint32_t>(random % (kRetryAfterMaxMs - kRetryAfterMinMs + 1));
}

std::uint32_t RetryAfterMs(const Error& error, std::uint64_t random) {
  const std::uint32_t min_ms = error.retry_after_min_ms;
  if (min_ms == 0 || !ErrorRowOf(error.code).retryable) return RetryAfterMs(error.code, random);
  return min_ms + static_cast<std::uint32_t>(random % (min_ms / 2 + 1));
}

}  // namespace bulla
