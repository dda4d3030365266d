#include "bench/run_command.h"

#include <fmt/format.h>
#include <fstream>

#include "bench/key_maker.h"

namespace bulla {
namespace {

BenchExit Fail(const absl::Status& status, std::ostream& err) {
  err << "bulla-bench: " << status.message() << "\n";
  if (absl::IsInvalidArgument(status)) return BenchExit::kUsage;
  if (absl::IsFailedPrecondition(status)) return BenchExit::kRefused;
  err << "  is the service running? `bulla dev` starts one; --url says where it is\n";
  return BenchExit::kNothingThere;
}

SchedulePlan ScheduleFor(const RunDescription& run) {
  return {.rate_per_s = run.rate_per_s,
          .warm_up = run.warm_up,
          .measured = run.duration,
          .requests_max = kAnswersMax};
}

// Opened before the load, so that nobody waits fifteen minutes for figures that go nowhere.
absl::StatusOr<std::ofstream> OpenJson(const std::filesystem::path& path) {
  std::ofstream file;
  if (path.empty()) return file;
  file.open(path, std::ios::binary | std::ios::trunc);
  if (!file) return absl::InvalidArgumentError(fmt::format("{} cannot be written", path.string()));
  return file;
}

}  // namespace

BenchExit RunBlocking(const RunOptions& options, const Clock& clock, std::ostream& out,
                      std::ostream& err) {
  const RunDescription& run = options.run;
  if (Schedule::DueWithin(run.rate_per_s, run.warm_up + run.duration) > kAnswersMax) {
    return Fail(absl::InvalidArgumentError(fmt::format(
                    "more than {} requests: their answers could not be kept", kAnswersMax)),
                err);
  }
  absl::StatusOr<std::ofstream> json = OpenJson(options.json_file);
  if (!json.ok()) return Fail(json.status(), err);
  absl::StatusOr<Target> target = ResolveBlocking(run.url);
  if (!target.ok()) return Fail(target.status(), err);
  absl::StatusOr<std::vector<BenchKey>> keys = MakeKeysBlocking(*target, run.keys);
  if (!keys.ok()) return Fail(keys.status(), err);

  LoadPlan plan{.schedule = ScheduleFor(run),
                .connections = run.connections,
                .keys = *std::move(keys),
                .seed = run.seed};
  absl::StatusOr<LoadResult> result = RunLoadBlocking(
      plan, *target, clock,
      [&err](const LoadProgress& progress) { err << ProgressLine(progress) << std::endl; });
  if (!result.ok()) return Fail(result.status(), err);

  Verification verification =
      VerifyBlocking(result->answers, plan.keys, plan.seed, [&err](std::uint64_t checked) {
        err << fmt::format("checked {} signatures", checked) << std::endl;
      });
  out << TextReport(run, *result, verification) << std::flush;
  if (json->is_open()) {
    *json << JsonReport(run, *result, verification) << std::flush;
    if (!*json) {
      return Fail(absl::InvalidArgumentError(
                      fmt::format("{} cannot be written", options.json_file.string())),
                  err);
    }
  }
  bool wrong = verification.wrong > 0 || result->malformed > 0;
  return wrong ? BenchExit::kWrong : BenchExit::kOk;
}

}  // namespace bulla
