#pragma once

#include <string>

namespace bulla {

// What a failed system call says: "Address already in use (EADDRINUSE)". The name is what one
// searches for, and the same in every locale.
std::string ErrnoText(int error);

}  // namespace bulla
