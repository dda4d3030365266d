#pragma once

// Byte strings, and the two ways text carries them here: hexadecimal (the public contract) and
// base64 (the KMS protocol). Nothing in this file may hold a secret: that is crypto/secret.h.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bulla {

using Bytes = std::vector<std::uint8_t>;
using ByteSpan = std::span<const std::uint8_t>;
using MutableByteSpan = std::span<std::uint8_t>;
template <std::size_t N>
using ByteArray = std::array<std::uint8_t, N>;

// A view of the characters of `text` as bytes, and back. Nothing is copied.
inline ByteSpan AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view AsText(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Appends the lower-case digits, without a prefix.
void AppendHex(ByteSpan bytes, std::string& out);

// Lower-case hexadecimal, two digits a byte, no prefix.
std::string HexEncode(ByteSpan bytes);
// The same behind "0x", as the public contract writes every byte string.
std::string HexEncode0x(ByteSpan bytes);

// Decodes exactly 2 * out.size() hexadecimal digits of either case, with or without "0x".
// False, with `out` unspecified, when the length or a digit is wrong.
bool HexDecode(std::string_view text, MutableByteSpan out);

// Standard base64 with padding (RFC 4648 section 4).
std::string Base64Encode(ByteSpan bytes);
// Nothing when `text` is not canonical base64 or would decode to more than `max_bytes`.
std::optional<Bytes> Base64Decode(std::string_view text, std::size_t max_bytes);

// Big-endian integers, as every format here writes them.
inline void StoreBigEndian32(std::uint32_t value, std::uint8_t* out) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
}
inline void StoreBigEndian64(std::uint64_t value, std::uint8_t* out) {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<std::uint8_t>(value >> (56 - 8 * i));
}
inline std::uint32_t LoadBigEndian32(const std::uint8_t* in) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | in[i];
  return value;
}
inline std::uint64_t LoadBigEndian64(const std::uint8_t* in) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | in[i];
  return value;
}

}  // namespace bulla
