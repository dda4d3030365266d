#include "base/ids.h"

#include <cstdint>

#include "base/random.h"

namespace bulla::internal {
namespace {

constexpr std::size_t kTextLength = 36;
constexpr bool IsHyphen(std::size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

}  // namespace

ByteArray<16> NewUuidV7(WallTime now) {
  ByteArray<16> id;
  FillRandom(id);
  auto millis = static_cast<std::uint64_t>(UnixMillis(now));
  for (std::size_t i = 0; i < 6; ++i) id[i] = static_cast<std::uint8_t>(millis >> (40 - 8 * i));
  id[6] = static_cast<std::uint8_t>(0x70 | (id[6] & 0x0f));  // version 7
  id[8] = static_cast<std::uint8_t>(0x80 | (id[8] & 0x3f));  // variant of RFC 9562
  return id;
}

std::string FormatUuid(const ByteArray<16>& bytes) {
  std::string text = HexEncode(bytes);
  for (std::size_t at : {8u, 13u, 18u, 23u}) text.insert(at, 1, '-');
  return text;
}

bool ParseUuid(std::string_view text, ByteArray<16>& out) {
  if (text.size() != kTextLength) return false;
  char digits[32];
  std::size_t n = 0;
  for (std::size_t i = 0; i < kTextLength; ++i) {
    if (IsHyphen(i) != (text[i] == '-')) return false;
    if (!IsHyphen(i)) digits[n++] = text[i];
  }
  // "0x" would be taken as a prefix and leave too few digits, so it is refused there too.
  return HexDecode({digits, n}, out);
}

}  // namespace bulla::internal
