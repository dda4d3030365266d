#include "gateway/frontend/der.h"

namespace bulla {
namespace {

constexpr std::uint8_t kInteger = 0x02;
constexpr std::uint8_t kSequence = 0x30;

// Appends INTEGER: the fewest bytes that hold the number, with a zero in front where its first bit
// would read as a minus sign.
void AppendInteger(ByteSpan big_endian, Bytes& out) {
  while (big_endian.size() > 1 && big_endian[0] == 0) big_endian = big_endian.subspan(1);
  bool pad = (big_endian[0] & 0x80) != 0;
  out.push_back(kInteger);
  out.push_back(static_cast<std::uint8_t>(big_endian.size() + (pad ? 1 : 0)));
  if (pad) out.push_back(0);
  out.insert(out.end(), big_endian.begin(), big_endian.end());
}

}  // namespace

Bytes EncodeDerSignature(const ByteArray<64>& rs) {
  Bytes out = {kSequence, 0};
  out.reserve(72);
  AppendInteger(ByteSpan(rs).first(32), out);
  AppendInteger(ByteSpan(rs).last(32), out);
  out[1] = static_cast<std::uint8_t>(out.size() - 2);  // at most 70: the short form of the length
  return out;
}

}  // namespace bulla
