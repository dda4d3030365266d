#include "store/sqlite/keeper.h"

#include <fmt/format.h>
#include <utility>

#include "base/log.h"

namespace bulla {
namespace {

// With what each create forgets for itself, a step of this size now and then is for when none come:
// a millisecond of the writer's time.
constexpr std::size_t kForgottenAtOnceMax = 128;
constexpr std::chrono::seconds kForgetInterval{10};

}  // namespace

SqliteKeeper::SqliteKeeper(SqliteConnection connection, const SqliteFile& file,
                           SqliteWriter& writer, HealthRecord& health, const Clock& clock,
                           Options options)
    : connection_(std::move(connection)),
      file_(file),
      writer_(writer),
      health_(health),
      clock_(clock),
      options_(options),
      ticker_("store-keeper", options.interval, [this] { Tick(); }) {}

void SqliteKeeper::Tick() {
  CheckHealth();
  if (health_.fault() == StoreFault::kNone) {
    MoveLog();
    Forget(clock_.Now());
  }
}

void SqliteKeeper::CheckHealth() {
  const std::optional<MonotonicTime> busy_since = writer_.busy_since();
  const StoreFault known = health_.fault();
  if (absl::Status in_place = file_.CheckInPlace(); !in_place.ok()) {
    if (known != StoreFault::kGone) health_.Failed(in_place);
  } else if (busy_since && clock_.Now() - *busy_since > options_.stalled_after) {
    if (known == StoreFault::kStalled) return;
    health_.Failed(WithFault(
        absl::UnavailableError(fmt::format("{}: a write has begun over {} ms ago and does not end",
                                           file_.path(), options_.stalled_after.count())),
        StoreFault::kStalled));
  } else if (known != StoreFault::kNone && !busy_since) {
    writer_.Push(ProbeWrite{}).IgnoreError();  // a full queue is probe enough
  }
}

void SqliteKeeper::MoveLog() {
  const std::int64_t transactions = writer_.transactions();
  if (transactions == transactions_moved_) return;
  absl::StatusOr<bool> moved = connection_.Checkpoint(/*truncate=*/false);
  if (moved.ok() && *moved) transactions_moved_ = transactions;
  if (moved.ok() == !moving_failed_) return;
  moving_failed_ = !moved.ok();
  if (moving_failed_)
    LogWarn("store_log_not_moved", {{"reason", std::string(moved.status().message())}});
}

void SqliteKeeper::Forget(MonotonicTime now) {
  if (now < forget_at_) return;
  forget_at_ = now + kForgetInterval;
  writer_.Push(ForgetWrite{.rows_max = kForgottenAtOnceMax, .result = {}}).IgnoreError();
}

}  // namespace bulla
