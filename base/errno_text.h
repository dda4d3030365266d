#pragma once

// What a failed system call says, as messages have it: with the name that one searches for, and the
// same in every locale.

#include <string>

namespace bulla {

// "Address already in use (EADDRINUSE)".
std::string ErrnoText(int error);

}  // namespace bulla
