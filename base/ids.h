#pragma once

// Identifiers: UUIDs as 16 bytes, each kind a type of its own so that a key id cannot be passed
// where a data key's id is wanted. New ones are version 7 (RFC 9562): milliseconds since 1970 in
// the first 48 bits, so that they sort by the time they were made, then 74 random bits.

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"

namespace bulla {

namespace internal {
ByteArray<16> NewUuidV7(WallTime now);
std::string FormatUuid(const ByteArray<16>& bytes);
bool ParseUuid(std::string_view text, ByteArray<16>& out);
}  // namespace internal

template <typename Tag>
struct Uuid {
  static constexpr std::size_t kBytes = 16;
  ByteArray<16> bytes{};

  static Uuid New(WallTime now) { return {internal::NewUuidV7(now)}; }

  // Takes the 36-character form with hyphens, in either case; any version.
  static std::optional<Uuid> Parse(std::string_view text) {
    Uuid id;
    if (!internal::ParseUuid(text, id.bytes)) return std::nullopt;
    return id;
  }
  // Requires: bytes.size() == 16.
  static Uuid FromBytes(ByteSpan bytes) {
    Uuid id;
    for (std::size_t i = 0; i < kBytes; ++i) id.bytes[i] = bytes[i];
    return id;
  }

  std::string ToString() const { return internal::FormatUuid(bytes); }
  // What logs show: the last twelve digits, which are random, where the first are the time.
  std::string Short() const { return ToString().substr(24); }

  friend auto operator<=>(const Uuid&, const Uuid&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Uuid& id) {
    return H::combine_contiguous(std::move(h), id.bytes.data(), kBytes);
  }
};

using KeyId = Uuid<struct KeyIdTag>;    // one signing key
using DekId = Uuid<struct DekIdTag>;    // one data encryption key
using BootId = Uuid<struct BootIdTag>;  // one life of an enclave process

}  // namespace bulla
