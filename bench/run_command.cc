#include "bench/run_command.h"

#include <fmt/format.h>

#include "bench/json_file.h"
#include "bench/key_maker.h"
#include "bench/service.h"

namespace bulla {

BenchExit RunBlocking(const RunOptions& options, const Clock& clock, std::ostream& out,
                      std::ostream& err) {
  RunDescription run = options.run;
  if (!options.target.empty()) {
    absl::StatusOr<Service> service = ReadService(options.target);
    if (!service.ok()) return Fail(service.status(), err);
    run.url = service->AddressFor(run.traffic.protocol);
  }
  if (Schedule::DueWithin(run.rate_per_s, run.warm_up + run.duration) > kAnswersMax) {
    return Fail(absl::InvalidArgumentError(fmt::format(
                    "more than {} requests: their answers could not be kept", kAnswersMax)),
                err);
  }
  absl::StatusOr<std::ofstream> json = OpenJson(options.json_file);
  if (!json.ok()) return Fail(json.status(), err);
  absl::StatusOr<Target> target = ResolveBlocking(run.url);
  if (!target.ok()) return Fail(target.status(), err);
  absl::StatusOr<std::vector<BenchKey>> keys =
      MakeKeysBlocking(*target, run.traffic.protocol, run.keys);
  if (!keys.ok()) return Fail(keys.status(), err);

  LoadPlan plan{.schedule = ScheduleFor(run),
                .traffic = run.traffic,
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
  absl::Status written =
      WriteJson(JsonReport(run, *result, verification), options.json_file, *json);
  if (!written.ok()) return Fail(written, err);
  bool wrong = verification.wrong > 0 || result->malformed > 0;
  return wrong ? BenchExit::kWrong : BenchExit::kOk;
}

}  // namespace bulla
