#pragma once

// Rows of the SQLite schema as values: which columns, in which order, and what must be true of
// them.

#include "base/status.h"
#include "store/key_store.h"
#include "store/sqlite/connection.h"

namespace bulla {

// Limits of what is stored, a little above what is ever sent.
inline constexpr std::size_t kWrappedDekBytesMax = 6144;   // KMS CiphertextBlob
inline constexpr std::size_t kKmsKeyIdBytesMax = 2048;     // KMS KeyId, as an ARN
inline constexpr std::size_t kBlobBytesMax = 1024;         // a sealed key is 129
inline constexpr std::size_t kAddressBytesMax = 64;        // EIP-55 is 42
inline constexpr std::size_t kIdempotencyBytesMax = 1024;  // each part; the front ends allow less

// INVALID_ARGUMENT when something is over a limit, or empty that must not be.
absl::Status CheckRow(const DekRow& row);
absl::Status CheckRow(const KeyRow& row);
absl::Status CheckIdempotency(const Idempotency& idempotency);

// For SELECT and INSERT lists, in the order that the functions below use.
inline constexpr char kDekColumns[] = "dek_id, wrapped, kms_key_id, created_ms";
inline constexpr char kKeyColumns[] =
    "key_id, dek_id, blob, public_key, address, created_ms, enabled";

SqliteRun& BindRow(SqliteRun& run, const DekRow& row);
SqliteRun& BindRow(SqliteRun& run, const KeyRow& row);

// The current row. DATA_LOSS when a column does not have its size.
absl::StatusOr<DekRow> ReadDekRow(const SqliteRun& run);
absl::StatusOr<KeyRow> ReadKeyRow(const SqliteRun& run);
absl::StatusOr<KeyChange> ReadKeyChange(const SqliteRun& run);  // sequence, key_id, enabled

// Times are stored in milliseconds; this is what a row's time is after it was stored.
WallTime ToStoredPrecision(WallTime time);

}  // namespace bulla
