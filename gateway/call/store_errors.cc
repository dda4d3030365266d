#include "gateway/call/store_errors.h"

#include <string>

#include "base/log.h"

namespace bulla {
namespace {

// The store tries to write once a second while it cannot.
constexpr std::uint32_t kStoreRetryMinMs = 1000;

}  // namespace

Error StoreError(const absl::Status& status) {
  LogError("store_failed", {{"reason", status.ToString()}});
  if (absl::IsResourceExhausted(status)) return {ErrorCode::kRetryLater, ""};
  return {ErrorCode::kUnavailable,
          "the key store does not answer; try again after the given delay"};
}

Error CannotStore(StoreFault fault) {
  return {ErrorCode::kUnavailable, std::string(StoreFaultForCallers(fault)), kStoreRetryMinMs};
}

Error StoreWriteError(const KeyStore& store, const absl::Status& status) {
  const StoreFault fault = store.fault();
  return fault == StoreFault::kNone ? StoreError(status) : CannotStore(fault);
}

}  // namespace bulla
