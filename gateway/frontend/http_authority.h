#pragma once

// HOST[:PORT] as HTTP has it: the Host field, the authority of an absolute-form target, and what an
// Origin has behind its scheme (RFC 9110, sections 4.2 and 7.2; RFC 3986, section 3.2). A pure
// function.

#include <optional>
#include <string_view>

namespace bulla {

struct HttpAuthority {
  std::string_view host;  // as it was written, an IPv6 address with its brackets; may be empty
  std::string_view port;  // its digits; empty: none, hence the scheme's own

  // An IPv4 address of four decimal numbers, or an IPv6 address in brackets.
  bool is_address() const;
};

// Nothing when `text` is not well-formed. User information is not among what it may have: it is
// used to mislead, and is deprecated (RFC 9110, section 4.2.4).
std::optional<HttpAuthority> ParseHttpAuthority(std::string_view text);

}  // namespace bulla
