#include "bench/commands/exit.h"

namespace bulla {

BenchExit Fail(const absl::Status& status, std::ostream& err) {
  err << "bulla-bench: " << status.message() << "\n";
  if (absl::IsInvalidArgument(status)) return BenchExit::kUsage;
  if (absl::IsFailedPrecondition(status)) return BenchExit::kRefused;
  if (absl::IsDataLoss(status)) return BenchExit::kWrong;
  if (!absl::IsUnavailable(status)) return BenchExit::kNothingThere;
  err << "  is the service running? `bulla dev` starts one; --url says where it is\n";
  return BenchExit::kNothingThere;
}

}  // namespace bulla
