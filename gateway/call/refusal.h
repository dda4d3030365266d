#pragma once

// How a request that is wrong is refused. A message names the field, what arrived and what was
// wanted; what arrived is repeated only in a short and printable form. Pure functions.

#include <cstddef>
#include <string>
#include <string_view>

#include "wire/errors.h"

namespace bulla {

Error InvalidArgument(std::string message);

// The longest piece of what a caller sent that an error message repeats.
inline constexpr std::size_t kEchoCharsMax = 64;

// `text` in single quotes, at most kEchoCharsMax characters of it, with everything that is
// not plain printable ASCII replaced by '?'.
std::string Quoted(std::string_view text);

}  // namespace bulla
