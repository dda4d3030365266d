#include "store/health.h"

#include <cerrno>
#include <chrono>
#include <fmt/format.h>

#include "base/check.h"
#include "base/log.h"

namespace bulla {
namespace {

constexpr char kFaultUrl[] = "bulla.store/fault";

struct FaultRow {
  std::string_view name;
  std::string_view for_callers;
};

constexpr std::array<FaultRow, kStoreFaultCount> kRows = {{
    {"none", ""},
    {"gone", "no key can be made: the file of the key store is not where it was; signing goes on"},
    {"full", "no key can be made: the disk of the key store is full; signing goes on"},
    {"read_only", "no key can be made: the key store is read-only; signing goes on"},
    {"io", "no key can be made: the disk of the key store fails; signing goes on"},
    {"locked", "no key can be made: another program holds the key store locked; signing goes on"},
    {"stalled", "no key can be made: the disk of the key store does not answer; signing goes on"},
    {"other", "no key can be made: the key store cannot be written; signing goes on"},
}};

const FaultRow& RowOf(StoreFault fault) { return kRows[static_cast<std::size_t>(fault)]; }

}  // namespace

std::string_view StoreFaultName(StoreFault fault) { return RowOf(fault).name; }

std::string_view StoreFaultForCallers(StoreFault fault) {
  BULLA_CHECK(fault != StoreFault::kNone, "what does not fail is not explained");
  return RowOf(fault).for_callers;
}

StoreFault FaultOfErrno(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return StoreFault::kFull;
    case EROFS:
    case EACCES:
    case EPERM:
      return StoreFault::kReadOnly;
    case EIO:
      return StoreFault::kIo;
    default:
      return StoreFault::kOther;
  }
}

absl::Status WithFault(absl::Status status, StoreFault fault) {
  status.SetPayload(kFaultUrl, absl::Cord(std::string(1, static_cast<char>(fault))));
  return status;
}

StoreFault FaultOf(const absl::Status& status) {
  if (status.ok()) return StoreFault::kNone;
  const auto payload = status.GetPayload(kFaultUrl);
  return payload ? static_cast<StoreFault>((*payload)[0]) : StoreFault::kOther;
}

absl::Status WithPath(const absl::Status& status, const std::string& path) {
  const std::string message(status.message());
  if (status.ok() || message.starts_with(path)) return status;
  return WithFault(absl::Status(status.code(), fmt::format("{}: {}", path, message)),
                   FaultOf(status));
}

void HealthRecord::Succeeded() {
  if (fault() == StoreFault::kNone) return;
  MutexLock lock(mutex_);
  const auto lasted =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.WallNow() - health_.since);
  LogInfo("store_writes_again",
          {{"fault", StoreFaultName(health_.fault)}, {"lasted_ms", lasted.count()}});
  health_.fault = StoreFault::kNone;
  health_.reason.clear();
  fault_.store(StoreFault::kNone, std::memory_order_release);
}

void HealthRecord::Failed(const absl::Status& status) {
  const StoreFault fault = FaultOf(status);
  MutexLock lock(mutex_);
  ++health_.failures[static_cast<std::size_t>(fault)];
  if (health_.fault == fault) return;
  if (health_.writable()) health_.since = clock_.WallNow();
  health_.fault = fault;
  health_.reason = std::string(WithPath(status, path_).message());
  fault_.store(fault, std::memory_order_release);
  LogError("store_cannot_write", {{"fault", StoreFaultName(fault)}, {"reason", health_.reason}});
}

StoreHealth HealthRecord::health() const {
  MutexLock lock(mutex_);
  return health_;
}

}  // namespace bulla
