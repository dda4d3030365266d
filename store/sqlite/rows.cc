#include "store/sqlite/rows.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

namespace bulla {
namespace {

absl::Status CheckSize(const char* what, std::size_t size, std::size_t min, std::size_t max) {
  if (size >= min && size <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: {} bytes, want {} to {}", what, size, min, max));
}

WallTime FromUnixMillis(std::int64_t millis) { return WallTime(std::chrono::milliseconds(millis)); }

// Copies a column of a fixed size.
template <std::size_t N>
absl::Status ReadFixed(const SqliteRun& run, int column, ByteArray<N>& out) {
  ByteSpan blob = run.BlobAt(column);
  if (blob.size() != N) {
    return absl::DataLossError(
        fmt::format("sqlite: column {} has {} bytes, want {}", column, blob.size(), N));
  }
  std::copy(blob.begin(), blob.end(), out.begin());
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRow(const DekRow& row) {
  BULLA_RETURN_IF_ERROR(CheckSize("wrapped DEK", row.wrapped.size(), 1, kWrappedDekBytesMax));
  return CheckSize("KMS key id", row.kms_key_id.size(), 1, kKmsKeyIdBytesMax);
}

absl::Status CheckRow(const KeyRow& row) {
  BULLA_RETURN_IF_ERROR(CheckSize("sealed key", row.blob.size(), 1, kBlobBytesMax));
  return CheckSize("address", row.address.size(), 1, kAddressBytesMax);
}

absl::Status CheckIdempotency(const Idempotency& idempotency) {
  BULLA_RETURN_IF_ERROR(CheckSize("scope", idempotency.scope.size(), 0, kIdempotencyBytesMax));
  BULLA_RETURN_IF_ERROR(
      CheckSize("idempotency key", idempotency.key.size(), 1, kIdempotencyBytesMax));
  return CheckSize("fingerprint", idempotency.fingerprint.size(), 1, kIdempotencyBytesMax);
}

SqliteRun& BindRow(SqliteRun& run, const DekRow& row) {
  return run.Bind(row.dek_id.bytes)
      .Bind(row.wrapped)
      .Bind(row.kms_key_id)
      .Bind(UnixMillis(row.created_at));
}

SqliteRun& BindRow(SqliteRun& run, const KeyRow& row) {
  return run.Bind(row.key_id.bytes)
      .Bind(row.dek_id.bytes)
      .Bind(row.blob)
      .Bind(row.public_key)
      .Bind(row.address)
      .Bind(UnixMillis(row.created_at))
      .Bind(std::int64_t{row.enabled});
}

absl::StatusOr<DekRow> ReadDekRow(const SqliteRun& run) {
  DekRow row;
  BULLA_RETURN_IF_ERROR(ReadFixed(run, 0, row.dek_id.bytes));
  ByteSpan wrapped = run.BlobAt(1);
  row.wrapped.assign(wrapped.begin(), wrapped.end());
  row.kms_key_id = run.TextAt(2);
  row.created_at = FromUnixMillis(run.IntegerAt(3));
  return row;
}

absl::StatusOr<KeyRow> ReadKeyRow(const SqliteRun& run) {
  KeyRow row;
  BULLA_RETURN_IF_ERROR(ReadFixed(run, 0, row.key_id.bytes));
  BULLA_RETURN_IF_ERROR(ReadFixed(run, 1, row.dek_id.bytes));
  ByteSpan blob = run.BlobAt(2);
  row.blob.assign(blob.begin(), blob.end());
  BULLA_RETURN_IF_ERROR(ReadFixed(run, 3, row.public_key));
  row.address = run.TextAt(4);
  row.created_at = FromUnixMillis(run.IntegerAt(5));
  row.enabled = run.IntegerAt(6) != 0;
  return row;
}

absl::StatusOr<KeyChange> ReadKeyChange(const SqliteRun& run) {
  KeyChange change{.sequence = run.IntegerAt(0), .enabled = run.IntegerAt(2) != 0};
  BULLA_RETURN_IF_ERROR(ReadFixed(run, 1, change.key_id.bytes));
  return change;
}

WallTime ToStoredPrecision(WallTime time) { return FromUnixMillis(UnixMillis(time)); }

}  // namespace bulla
