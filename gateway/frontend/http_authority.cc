#include "gateway/frontend/http_authority.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <string>

#include "gateway/frontend/http_text.h"

namespace bulla {
namespace {

bool IsAddress(int family, std::string_view text) {
  std::array<unsigned char, sizeof(in6_addr)> address;
  if (text.size() >= INET6_ADDRSTRLEN) return false;
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  std::copy(text.begin(), text.end(), terminated.begin());
  return ::inet_pton(family, terminated.data(), address.data()) == 1;
}

// reg-name, RFC 3986, section 3.2.2.
bool IsRegisteredName(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || !IsHexDigit(text[i + 1]) || !IsHexDigit(text[i + 2]))
        return false;
      i += 2;
    } else if (!IsHexDigit(c) && !(c >= 'g' && c <= 'z') && !(c >= 'G' && c <= 'Z') &&
               std::string_view("-._~!$&'()*+,;=").find(c) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool HttpAuthority::is_address() const { return host.starts_with('[') || IsAddress(AF_INET, host); }

std::optional<HttpAuthority> ParseHttpAuthority(std::string_view text) {
  HttpAuthority authority;
  std::size_t end = 0;
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == text.npos || !IsAddress(AF_INET6, text.substr(1, end - 1))) return std::nullopt;
    ++end;
  } else {
    end = std::min(text.find(':'), text.size());
    if (!IsRegisteredName(text.substr(0, end))) return std::nullopt;
  }
  authority.host = text.substr(0, end);
  if (end == text.size()) return authority;
  authority.port = text.substr(end + 1);
  if (text[end] != ':' || !std::all_of(authority.port.begin(), authority.port.end(), IsDigit)) {
    return std::nullopt;
  }
  return authority;
}

}  // namespace bulla
