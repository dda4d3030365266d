#include "bench/commands/matrix_command.h"

#include <fmt/format.h>

#include "bench/load/measurement.h"
#include "bench/report/output_file.h"
#include "bench/report/units.h"
#include "bench/target/stock_signer.h"

namespace bulla {
namespace {

absl::StatusOr<MatrixRow> MeasureCellBlocking(const MatrixOptions& options, const MatrixCell& cell,
                                              StockSigner& stock, const Clock& clock,
                                              std::ostream& err) {
  BULLA_ASSIGN_OR_RETURN(OwnService own,
                         OwnService::StartBlocking(OptionsOf(cell, options.service), clock));
  std::vector<BenchKey> keys;
  std::vector<Duration> stock_rounds;
  stock.AddRounds(stock_rounds);
  BULLA_ASSIGN_OR_RETURN(
      Measurement closed,
      MeasureBlocking(own.service(), options.closed, /*watch=*/false, keys, clock, err, nullptr));
  stock.AddRounds(stock_rounds);
  BULLA_ASSIGN_OR_RETURN(
      Measurement paced,
      MeasureBlocking(own.service(), options.paced, /*watch=*/true, keys, clock, err, nullptr));
  const LatencyHistogram& latency = paced.load.latency;
  return MatrixRow{.cell = cell,
                   .closed_rate_per_s = RatePerSecond(closed.run, closed.load),
                   .cpu_us = CpuUsPerSignature(closed),
                   .stock_us = Us(MedianOf(stock_rounds)),
                   .paced_cpu_us = CpuUsPerSignature(paced),
                   .p50_ms = Ms(latency.Quantile(0.5)),
                   .p95_ms = Ms(latency.Quantile(0.95)),
                   .p99_ms = Ms(latency.Quantile(0.99)),
                   .lost_percent = LostPercent(paced),
                   .queue_depth = MeanQueueDepth(paced),
                   .crossings = CrossingsPerSignature(paced)};
}

// The first line of why, for a row of a table.
std::string FirstLine(const absl::Status& status) {
  std::string message(status.message());
  std::replace(message.begin(), message.end(), '\n', ' ');
  return message;
}

absl::StatusOr<MatrixReport> MeasureMatrixBlocking(const MatrixOptions& options, const Clock& clock,
                                                   std::ostream& err) {
  BULLA_ASSIGN_OR_RETURN(StockSigner stock, StockSigner::Load());
  MatrixReport report{.machine = ThisMachine(),
                      .commit = options.commit,
                      .began_at = Iso8601(clock.WallNow()),
                      .stock_library = stock.file(),
                      .closed = options.closed,
                      .paced = options.paced};
  err << MatrixHeadline() << std::flush;
  for (const MatrixCell& cell : options.cells) {
    absl::StatusOr<MatrixRow> row = MeasureCellBlocking(options, cell, stock, clock, err);
    // A wrong signature is the end of everything; a service that does not start is not.
    if (absl::IsDataLoss(row.status())) return row.status();
    report.rows.push_back(row.ok() ? *row
                                   : MatrixRow{.cell = cell, .failure = FirstLine(row.status())});
    err << MatrixRowText(report.rows.back()) << std::flush;
  }
  return report;
}

absl::Status WriteFile(const std::filesystem::path& path, std::string_view text) {
  BULLA_ASSIGN_OR_RETURN(std::ofstream file, OpenOutput(path));
  return WriteOutput(text, path, file);
}

absl::Status Keep(const MatrixReport& report, const MatrixOptions& options, const Clock& clock,
                  std::ostream& err) {
  std::error_code error;
  std::filesystem::create_directories(options.reports, error);
  const std::filesystem::path name =
      options.reports / ReportName(clock.WallNow(), "matrix", report.commit);
  BULLA_RETURN_IF_ERROR(WriteFile(name.string() + ".txt", MatrixText(report)));
  BULLA_RETURN_IF_ERROR(WriteFile(name.string() + ".json", MatrixJson(report)));
  err << fmt::format("kept as {}.txt and .json", name.string()) << std::endl;
  return options.json_file.empty() ? absl::OkStatus()
                                   : WriteFile(options.json_file, MatrixJson(report));
}

}  // namespace

BenchExit RunMatrixBlocking(const MatrixOptions& options, const Clock& clock, std::ostream& out,
                            std::ostream& err) {
  absl::StatusOr<MatrixReport> report = MeasureMatrixBlocking(options, clock, err);
  if (!report.ok()) return Fail(report.status(), err);
  out << MatrixText(*report);
  if (absl::Status kept = Keep(*report, options, clock, err); !kept.ok()) return Fail(kept, err);
  bool all = std::all_of(report->rows.begin(), report->rows.end(),
                         [](const MatrixRow& row) { return row.failure.empty(); });
  return all ? BenchExit::kOk : BenchExit::kNothingThere;
}

}  // namespace bulla
