#include "gateway/request_id.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/random.h"

namespace bulla {
namespace {

std::string RandomPrefix() {
  ByteArray<8> bytes;
  FillRandom(bytes);
  return HexEncode(bytes);
}

bool IsIdCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == ':' || c == '-';
}

}  // namespace

bool IsAcceptableRequestId(std::string_view id) {
  return !id.empty() && id.size() <= limits::kRequestIdCharsMax &&
         std::all_of(id.begin(), id.end(), IsIdCharacter);
}

RequestIdSource::RequestIdSource() : prefix_(RandomPrefix()) {}

std::string RequestIdSource::Next() {
  if (next_ == UINT32_MAX) *this = RequestIdSource();  // the counter never repeats under a prefix
  ByteArray<4> count;
  StoreBigEndian32(next_++, count.data());
  return prefix_ + HexEncode(count);
}

}  // namespace bulla
