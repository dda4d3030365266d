#include "bench/report/output_file.h"

#include <cerrno>
#include <fmt/format.h>

#include "base/errno_text.h"

namespace bulla {
namespace {

absl::Status CannotWrite(const std::filesystem::path& path) {
  return absl::InvalidArgumentError(
      fmt::format("{} cannot be written: {}", path.string(), ErrnoText(errno)));
}

}  // namespace

absl::StatusOr<std::ofstream> OpenOutput(const std::filesystem::path& path) {
  std::ofstream file;
  if (path.empty()) return file;
  file.open(path, std::ios::binary | std::ios::trunc);
  if (!file) return CannotWrite(path);
  return file;
}

absl::Status WriteOutput(std::string_view text, const std::filesystem::path& path,
                         std::ofstream& file) {
  if (!file.is_open()) return absl::OkStatus();
  file << text << std::flush;
  return file ? absl::OkStatus() : CannotWrite(path);
}

}  // namespace bulla
