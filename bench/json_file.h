#pragma once

// The file of --json: opened before the load, so that nobody waits fifteen minutes for figures that
// go nowhere.

#include <filesystem>
#include <fstream>
#include <string_view>

#include "base/status.h"

namespace bulla {

// An empty path opens nothing. INVALID_ARGUMENT when the file cannot be written, here and below.
absl::StatusOr<std::ofstream> OpenJson(const std::filesystem::path& path);

// Does nothing when nothing was opened.
absl::Status WriteJson(std::string_view json, const std::filesystem::path& path,
                       std::ofstream& file);

}  // namespace bulla
