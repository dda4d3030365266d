#pragma once

// Media types (RFC 9110, section 8.3.1), as far as a service that takes JSON alone needs them. A
// pure function.

#include <string_view>

namespace bulla {

// Whether a Content-Type says that this is JSON in UTF-8: application/json in any case, with any
// well-formed parameters, of which `charset` can only be UTF-8 (RFC 8259 knows no other).
bool IsJsonMediaType(std::string_view content_type);

}  // namespace bulla
