#pragma once

// The rules of the public contract, and the words in which a breach is refused: one place for both
// protocols, so that HTTP and gRPC accept the same and say the same. Pure functions.

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/values.h"
#include "gateway/call/refusal.h"
#include "wire/errors.h"

namespace bulla {

// What each field has to be, as messages say it.
inline constexpr std::string_view kKeyIdWanted = "a key id: a UUID of 36 characters";
inline constexpr std::string_view kDigestWanted = "32 bytes as 64 hex digits, with or without 0x";

Error ParseKeyId(std::string_view text, KeyId& out);

// A string as it arrived: its length, and the first part of it. Longer strings are counted, not
// kept, so that a refusal can name the length of any.
struct Received {
  std::string_view head;    // all of it, or at least the first 80 characters
  std::size_t length = 0;   // of the whole
  bool tail_is_hex = true;  // nothing but hex digits beyond `head`
};
Error ParseDigestHex(const Received& text, Digest32& out);
Error ParseDigestBytes(std::string_view bytes, Digest32& out);

// Empty stands for none and is fine.
Error CheckIdempotencyKey(std::string_view key);

// How a tenant may be spelled, in any case: as a field of the header, of metadata and of the body.
inline constexpr std::string_view kTenantNames[] = {"tenant-id", "tenant_id", "tenantid",
                                                    "x-tenant-id"};
bool IsTenantName(std::string_view name);
// `name` is how the caller spelled it.
Error TenantRefused(std::string_view name);
Error BatchEmpty();
Error BatchTooLong();

// RFC 3339 in UTC with milliseconds: 2026-03-01T12:00:00.123Z.
std::string FormatTime(WallTime time);
inline std::string_view KeyStatusName(bool enabled) { return enabled ? "ENABLED" : "DISABLED"; }

}  // namespace bulla
