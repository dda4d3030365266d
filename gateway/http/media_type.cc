#include "gateway/http/media_type.h"

#include <algorithm>
#include <optional>
#include <string>

#include "gateway/frontend/http_text.h"

namespace bulla {
namespace {

constexpr std::string_view kJson = "application/json";

std::string_view TakeToken(std::string_view& rest) {
  const auto end = std::find_if_not(rest.begin(), rest.end(), IsTokenChar);
  const std::string_view token = rest.substr(0, static_cast<std::size_t>(end - rest.begin()));
  rest.remove_prefix(token.size());
  return token;
}

// A quoted string without its quotes and escapes. Nothing when it does not end.
std::optional<std::string> TakeQuotedString(std::string_view& rest) {
  std::string text;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return text;
    }
    if (rest[i] == '\\' && ++i == rest.size()) break;
    text.push_back(rest[i]);
  }
  return std::nullopt;
}

// Takes `;name=value` off `rest`, or a `;` with nothing behind it. False when it is neither, or a
// charset other than UTF-8.
bool TakeParameter(std::string_view& rest) {
  if (!rest.starts_with(';')) return false;
  rest = TrimHttpSpace(rest.substr(1));
  if (rest.empty() || rest.front() == ';') return true;
  const std::string_view name = TakeToken(rest);
  if (name.empty() || !rest.starts_with('=')) return false;
  rest.remove_prefix(1);
  std::optional<std::string> value;
  if (rest.starts_with('"')) {
    value = TakeQuotedString(rest);
  } else if (std::string_view token = TakeToken(rest); !token.empty()) {
    value = std::string(token);
  }
  rest = TrimHttpSpace(rest);
  return value && (!EqualsIgnoringCase(name, "charset") || EqualsIgnoringCase(*value, "utf-8"));
}

}  // namespace

bool IsJsonMediaType(std::string_view content_type) {
  if (content_type == kJson) return true;  // as nearly everybody writes it
  if (!EqualsIgnoringCase(content_type.substr(0, kJson.size()), kJson)) return false;
  std::string_view rest = TrimHttpSpace(content_type.substr(kJson.size()));
  while (!rest.empty()) {
    if (!TakeParameter(rest)) return false;
  }
  return true;
}

}  // namespace bulla
