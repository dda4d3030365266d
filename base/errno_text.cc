#include "base/errno_text.h"

#include <cstring>
#include <fmt/format.h>

namespace bulla {

std::string ErrnoText(int error) {
  const char* text = ::strerrordesc_np(error);
  const char* name = ::strerrorname_np(error);
  if (text == nullptr || name == nullptr) return fmt::format("error {}", error);
  return fmt::format("{} ({})", text, name);
}

}  // namespace bulla
