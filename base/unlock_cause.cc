#include "base/unlock_cause.h"

#include <array>

#include <absl/strings/cord.h>

namespace bulla {
namespace {

constexpr char kPayload[] = "bulla/unlock-cause";

struct Row {
  UnlockCause cause;
  std::string_view name;
  bool final;
};

constexpr std::array<Row, kUnlockCauseCount> kRows = {{
    {UnlockCause::kOther, "other", false},
    {UnlockCause::kUnavailable, "unavailable", false},
    {UnlockCause::kThrottled, "throttled", false},
    {UnlockCause::kCredentials, "credentials", false},
    {UnlockCause::kAccessDenied, "access_denied", true},
    {UnlockCause::kKeyNotFound, "key_not_found", true},
    {UnlockCause::kKeyDisabled, "key_disabled", true},
    {UnlockCause::kForeignCiphertext, "foreign_ciphertext", true},
    {UnlockCause::kRefused, "refused", true},
}};

const Row& RowOf(UnlockCause cause) { return kRows.at(static_cast<std::size_t>(cause)); }

}  // namespace

bool IsFinal(UnlockCause cause) { return RowOf(cause).final; }
std::string_view NameOf(UnlockCause cause) { return RowOf(cause).name; }

UnlockCause CauseOf(const absl::Status& status) {
  if (absl::optional<absl::Cord> payload = status.GetPayload(kPayload)) {
    return DecodeCause(std::string(*payload));
  }
  const bool passing =
      absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
  return passing ? UnlockCause::kUnavailable : UnlockCause::kOther;
}

absl::Status WithCause(absl::Status status, UnlockCause cause) {
  if (!status.ok()) status.SetPayload(kPayload, absl::Cord(EncodeCause(cause)));
  return status;
}

std::string EncodeCause(UnlockCause cause) { return std::string(NameOf(cause)); }

UnlockCause DecodeCause(std::string_view details) {
  for (const Row& row : kRows) {
    if (row.name == details) return row.cause;
  }
  return UnlockCause::kOther;
}

}  // namespace bulla
