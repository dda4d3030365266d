#include "gateway/admin/ready_file.h"

#include "base/file.h"
#include "base/log.h"

namespace bulla {

void ReadyFile::Tick(const DataPlane& data_plane, MonotonicTime now) {
  if (written_) return;
  const std::size_t available = data_plane.fleet().available();
  if (available == 0) return;
  const bool all = available == data_plane.fleet().table()->members.size();
  if (!(all && data_plane.unlocker().settled()) && now < started_ + kPatience) return;
  written_ = true;
  LogInfo("gateway_ready", {{"enclaves", available}});
  if (path_.empty()) return;
  absl::Status status = WriteFileAtomically(path_, text_);
  if (!status.ok()) LogError("ready_file_failed", {{"reason", status.ToString()}});
}

}  // namespace bulla
