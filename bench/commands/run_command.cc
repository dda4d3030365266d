#include "bench/commands/run_command.h"

#include "bench/load/key_maker.h"
#include "bench/report/html.h"
#include "bench/report/markdown.h"
#include "bench/report/output_file.h"
#include "bench/target/service.h"

namespace bulla {
namespace {

// The reports that go to files, all opened before the load.
class ReportFiles {
 public:
  static absl::StatusOr<ReportFiles> Open(const RunOptions& options) {
    ReportFiles files(options);
    BULLA_ASSIGN_OR_RETURN(files.json_, OpenOutput(options.json_file));
    BULLA_ASSIGN_OR_RETURN(files.markdown_, OpenOutput(options.markdown_file));
    BULLA_ASSIGN_OR_RETURN(files.html_, OpenOutput(options.html_file));
    return files;
  }

  absl::Status Write(const RunDescription& run, const LoadResult& result,
                     const Verification& verification, std::vector<RunSecond> seconds) {
    ReportPage page = PageOf({std::string(CallOf(run.traffic.protocol)), TrafficText(run.traffic)},
                             run, result, verification, std::move(seconds));
    BULLA_RETURN_IF_ERROR(
        WriteOutput(JsonReport(run, result, verification), options_->json_file, json_));
    BULLA_RETURN_IF_ERROR(WriteOutput(RenderMarkdown(page), options_->markdown_file, markdown_));
    return WriteOutput(RenderHtml(page), options_->html_file, html_);
  }

 private:
  explicit ReportFiles(const RunOptions& options) : options_(&options) {}

  const RunOptions* options_;
  std::ofstream json_;
  std::ofstream markdown_;
  std::ofstream html_;
};

}  // namespace

BenchExit RunBlocking(const RunOptions& options, const Clock& clock, std::ostream& out,
                      std::ostream& err) {
  RunDescription run = options.run;
  if (!options.target.empty()) {
    absl::StatusOr<Service> service = ReadService(options.target);
    if (!service.ok()) return Fail(service.status(), err);
    run.url = service->AddressFor(run.traffic.protocol);
  }
  const absl::Status fits = CheckAnswersFit(run);
  if (!fits.ok()) return Fail(fits, err);
  absl::StatusOr<ReportFiles> files = ReportFiles::Open(options);
  if (!files.ok()) return Fail(files.status(), err);
  absl::StatusOr<Target> target = ResolveBlocking(run.url);
  if (!target.ok()) return Fail(target.status(), err);
  absl::StatusOr<std::vector<BenchKey>> keys =
      MakeKeysBlocking(*target, run.traffic.protocol, run.keys, clock, err);
  if (!keys.ok()) return Fail(keys.status(), err);

  LoadPlan plan{.schedule = ScheduleFor(run),
                .traffic = run.traffic,
                .keys = *std::move(keys),
                .seed = run.seed};
  std::vector<RunSecond> seconds;
  absl::StatusOr<LoadResult> result =
      RunLoadBlocking(plan, *target, clock, [&](const LoadProgress& progress) {
        seconds.push_back(SecondOf(progress));
        err << ProgressLine(progress) << std::endl;
      });
  if (!result.ok()) return Fail(result.status(), err);

  Verification verification = VerifyBlocking(result->answers, plan.keys, plan.seed, clock, err);
  out << TextReport(run, *result, verification);
  absl::Status written = files->Write(run, *result, verification, std::move(seconds));
  if (!written.ok()) return Fail(written, err);
  bool wrong = verification.wrong > 0 || result->malformed > 0;
  return wrong ? BenchExit::kWrong : BenchExit::kOk;
}

}  // namespace bulla
