#include "gateway/frontend/call_rules.h"

#include <algorithm>
#include <chrono>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/limits.h"
#include "gateway/frontend/http_text.h"

namespace bulla {
Error ParseKeyId(std::string_view text, KeyId& out) {
  if (std::optional<KeyId> id = KeyId::Parse(text)) {
    out = *id;
    return {};
  }
  if (text.empty())
    return InvalidArgument(fmt::format("keyId: got nothing, want {}", kKeyIdWanted));
  return InvalidArgument(fmt::format("keyId: got {}, want {}", Quoted(text), kKeyIdWanted));
}

Error ParseDigestHex(const Received& text, Digest32& out) {
  if (text.length == text.head.size() && HexDecode(text.head, out)) return {};
  std::string_view head = text.head;
  std::size_t digits = text.length;
  if (head.starts_with("0x") || head.starts_with("0X")) {
    head.remove_prefix(2);
    digits -= 2;
  }
  std::string got;
  if (!text.tail_is_hex || !std::all_of(head.begin(), head.end(), IsHexDigit)) {
    got = fmt::format("{} ({} characters, not all of them hex digits)", Quoted(text.head),
                      text.length);
  } else if (digits % 2 != 0) {
    got = fmt::format("{} hex digits", digits);
  } else {
    got = fmt::format("{} bytes ({} hex digits)", digits / 2, digits);
  }
  return InvalidArgument(fmt::format("digest: got {}, want {}", got, kDigestWanted));
}

Error ParseDigestBytes(std::string_view bytes, Digest32& out) {
  if (bytes.size() != out.size()) {
    return InvalidArgument(fmt::format("digest: got {} bytes, want 32 bytes", bytes.size()));
  }
  ByteSpan from = AsBytes(bytes);
  std::copy(from.begin(), from.end(), out.begin());
  return {};
}

Error CheckIdempotencyKey(std::string_view key) {
  if (key.size() > limits::kIdempotencyKeyCharsMax) {
    return InvalidArgument(fmt::format("Idempotency-Key: got {} characters, want 1 to {}",
                                       key.size(), limits::kIdempotencyKeyCharsMax));
  }
  if (!std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c <= '~'; })) {
    return InvalidArgument(
        fmt::format("Idempotency-Key: got {}, want visible ASCII characters only", Quoted(key)));
  }
  return {};
}

bool IsTenantName(std::string_view name) {
  return std::ranges::any_of(kTenantNames,
                             [name](auto known) { return EqualsIgnoringCase(name, known); });
}

Error TenantRefused(std::string_view name) {
  return InvalidArgument(fmt::format(
      "{}: reserved and disabled: this service has no tenants, and a call that sets one is refused",
      name));
}

Error BatchEmpty() {
  return InvalidArgument(fmt::format("items: got none, want 1 to {}", limits::kBatchItemsMax));
}

Error BatchTooLong() {
  return InvalidArgument(
      fmt::format("items: got more than {0}, want 1 to {0}", limits::kBatchItemsMax));
}

std::string FormatTime(WallTime time) {
  std::int64_t millis = UnixMillis(time);
  std::int64_t second = millis / 1000 - (millis % 1000 < 0 ? 1 : 0);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(second)),
                     millis - second * 1000);
}

}  // namespace bulla
