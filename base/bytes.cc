#include "base/bytes.h"

#include <algorithm>

#include <absl/strings/escaping.h>

namespace bulla {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void AppendHex(ByteSpan bytes, std::string& out) {
  for (std::uint8_t byte : bytes) {
    out.push_back(kHexDigits[byte >> 4]);
    out.push_back(kHexDigits[byte & 15]);
  }
}

}  // namespace

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
    int high = HexValue(text[2 * i]);
    int low = HexValue(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
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
