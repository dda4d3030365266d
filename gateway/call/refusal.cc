#include "gateway/call/refusal.h"

#include <utility>

namespace bulla {

Error InvalidArgument(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}

std::string Quoted(std::string_view text) {
  std::string out = "'";
  for (char c : text.substr(0, kEchoCharsMax)) {
    bool plain = c >= ' ' && c <= '~' && c != '\'' && c != '"' && c != '\\' && c != '<' && c != '>';
    out.push_back(plain ? c : '?');
  }
  out += text.size() > kEchoCharsMax ? "'..." : "'";
  return out;
}

}  // namespace bulla
