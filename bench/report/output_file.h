#pragma once

// The files of --json, --markdown and --html: opened before the load, so that nobody waits fifteen
// minutes for figures that go nowhere.

#include <filesystem>
#include <fstream>
#include <string_view>

#include "base/status.h"

namespace bulla {

// An empty path opens nothing. INVALID_ARGUMENT when the file cannot be written, here and below.
absl::StatusOr<std::ofstream> OpenOutput(const std::filesystem::path& path);

// Does nothing when nothing was opened.
absl::Status WriteOutput(std::string_view text, const std::filesystem::path& path,
                         std::ofstream& file);

}  // namespace bulla
