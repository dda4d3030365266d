#include "gateway/frontend/request_id.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

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
  std::string id;
  AppendNext(id);
  return id;
}

std::string RequestIdSource::Take(std::string_view callers) {
  std::string id;
  TakeInto(callers, id);
  return id;
}

void RequestIdSource::TakeInto(std::string_view callers, std::string& out) {
  out.clear();
  if (IsAcceptableRequestId(callers)) {
    out += callers;
  } else {
    AppendNext(out);
  }
}

void RequestIdSource::AppendNext(std::string& out) {
  if (next_ == UINT32_MAX) *this = RequestIdSource();  // the counter never repeats under a prefix
  fmt::format_to(std::back_inserter(out), "{}{:08x}", prefix_, next_++);
}

}  // namespace bulla
