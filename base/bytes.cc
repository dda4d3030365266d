#include "base/bytes.h"

#include <algorithm>
#include <array>

#include <absl/strings/escaping.h>

namespace bulla {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

constexpr std::uint8_t kNoDigit = 0x80;

// What each character is worth as a digit.
constexpr std::array<std::uint8_t, 256> kHexValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (std::uint8_t i = 0; i < 10; ++i) values['0' + i] = i;
  for (std::uint8_t i = 0; i < 6; ++i) {
    values['a' + i] = values['A' + i] = static_cast<std::uint8_t>(10 + i);
  }
  return values;
}();

std::uint8_t HexValue(char c) { return kHexValues[static_cast<unsigned char>(c)]; }

}  // namespace

void AppendHex(ByteSpan bytes, std::string& out) {
  std::size_t at = out.size();
  out.resize(at + 2 * bytes.size());
  for (std::uint8_t byte : bytes) {
    out[at++] = kHexDigits[byte >> 4];
    out[at++] = kHexDigits[byte & 15];
  }
}

std::string HexEncode(ByteSpan bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  AppendHex(bytes, out);
  return out;
}

std::string HexEncode0x(ByteSpan bytes) {
  std::string out = "0x";
  out.reserve(2 + 2 * bytes.size());
  AppendHex(bytes, out);
  return out;
}

bool HexDecode(std::string_view text, MutableByteSpan out) {
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  if (text.size() != 2 * out.size()) return false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint8_t high = HexValue(text[2 * i]);
    const std::uint8_t low = HexValue(text[2 * i + 1]);
    if (((high | low) & kNoDigit) != 0) return false;
    out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

std::string Base64Encode(ByteSpan bytes) {
  std::string_view text = AsText(bytes);
  return absl::Base64Escape(absl::string_view(text.data(), text.size()));
}

std::optional<Bytes> Base64Decode(std::string_view text, std::size_t max_bytes) {
  if (text.size() % 4 != 0 || text.size() / 4 > max_bytes / 3 + 1) return std::nullopt;
  std::string decoded;
  if (!absl::Base64Unescape(absl::string_view(text.data(), text.size()), &decoded)) {
    return std::nullopt;
  }
  if (decoded.size() > max_bytes) return std::nullopt;
  Bytes out(decoded.begin(), decoded.end());
  // absl forgives white space and stray bits: only the one canonical spelling is taken here.
  if (Base64Encode(out) != text) return std::nullopt;
  return out;
}

}  // namespace bulla
