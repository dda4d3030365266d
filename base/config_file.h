#pragma once

// A YAML file as a flat list of dotted keys with their lines. What configuration has no use for and
// parsers have had holes in is refused: anchors and aliases, tags, several documents, deep nesting.

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace bulla {

inline constexpr std::size_t kConfigFileBytesMax = 64 * 1024;  // a full one has under 10 KiB
inline constexpr std::size_t kConfigDepthMax = 8;              // ours have two levels

struct ConfigEntry {
  // A section without anything in it, as one whose lines are all commented out, is kNothing.
  enum class Kind { kNothing, kText, kList };

  std::string key;  // "http.listen"
  int line = 0;     // from 1
  Kind kind = Kind::kNothing;
  std::vector<std::string> texts;  // one for kText
};

// The entries of `yaml`, in its order; no key comes twice. `name` is what errors call the file.
absl::StatusOr<std::vector<ConfigEntry>> ParseConfigFile(std::string_view yaml,
                                                         std::string_view name);

}  // namespace bulla
