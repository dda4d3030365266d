#include "bench/commands/cost_command.h"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <optional>

#include "base/random.h"
#include "bench/load/key_maker.h"
#include "bench/load/load.h"
#include "bench/load/verification.h"
#include "bench/report/output_file.h"
#include "bench/report/units.h"
#include "bench/target/stock_signer.h"

namespace bulla {
namespace {

constexpr std::uint64_t kAnswersMax = 4'000'000;

// A service, and the keys that were made in it.
struct Subject {
  std::optional<OwnService> own;
  Service service;
  Target http;
  Target grpc;
  std::vector<BenchKey> keys;
};

absl::Status Prepare(Subject& subject, int keys, const Clock& clock, std::ostream& err) {
  BULLA_ASSIGN_OR_RETURN(subject.http, ResolveBlocking(subject.service.http));
  BULLA_ASSIGN_OR_RETURN(subject.grpc, ResolveBlocking(subject.service.grpc));
  BULLA_ASSIGN_OR_RETURN(subject.keys,
                         MakeKeysBlocking(subject.http, Protocol::kHttp, keys, clock, err));
  return absl::OkStatus();
}

// What stands between the two edges of the measured part.
struct Interval {
  ServiceCpu cpu;
  std::uint64_t signatures = 0;
  Duration time{};
};

// Confined to one thread.
class Cost {
 public:
  Cost(const CostOptions& options, const Clock& clock, std::ostream& err)
      : options_(options), clock_(clock), err_(err) {}

  absl::Status MeasureBlocking();
  const CostReport& report() const { return report_; }

 private:
  absl::Status StartServicesBlocking();
  absl::Status MeasureRounds(StockSigner& stock);
  absl::StatusOr<CostRound> MeasureRound(CostPhase phase, StockSigner& stock);
  absl::StatusOr<LoadResult> RunPhase(const Subject& subject, bool stream, Interval& interval);
  absl::Status CheckAll(const LoadResult& result, const Subject& subject);
  const Subject& SubjectOf(CostPhase phase) const {
    return IsUnverified(phase) ? *unverified_ : *verified_;
  }

  const CostOptions& options_;
  const Clock& clock_;
  std::ostream& err_;
  const std::uint64_t seed_ = RandomUint64();
  std::optional<Subject> verified_;  // as it is shipped, or the target
  std::optional<Subject> unverified_;
  std::vector<Duration> stock_rounds_;  // so far
  CostReport report_;
};

absl::Status Cost::MeasureBlocking() {
  BULLA_ASSIGN_OR_RETURN(StockSigner stock, StockSigner::Load());
  report_.stock_library = stock.file();
  report_.machine = ThisMachine();
  report_.http = options_.http;
  report_.stream = options_.stream;
  for (CostPhase phase : options_.phases) report_.phases.push_back({phase, {}});
  BULLA_RETURN_IF_ERROR(StartServicesBlocking());
  return MeasureRounds(stock);
}

absl::Status Cost::StartServicesBlocking() {
  if (!options_.target.empty()) {
    BULLA_ASSIGN_OR_RETURN(verified_.emplace().service, ReadService(options_.target));
    report_.service = fmt::format("the service of {}", options_.target.string());
    return Prepare(*verified_, options_.keys, clock_, err_);
  }
  report_.service = fmt::format("services of its own with {} enclave{}", options_.service.enclaves,
                                options_.service.enclaves == 1 ? "" : "s");
  for (bool unverified : {false, true}) {
    if (std::none_of(options_.phases.begin(), options_.phases.end(),
                     [&](CostPhase phase) { return IsUnverified(phase) == unverified; })) {
      continue;
    }
    ServiceOptions service = options_.service;
    if (unverified) {
      service.dev_arguments.insert(service.dev_arguments.end(), {"--signature-check", "none"});
    }
    err_ << (unverified ? "starting a service that does not check its signatures"
                        : "starting a service")
         << std::endl;
    Subject& subject = (unverified ? unverified_ : verified_).emplace();
    BULLA_ASSIGN_OR_RETURN(OwnService own, OwnService::StartBlocking(service, clock_));
    subject.service = subject.own.emplace(std::move(own)).service();
    BULLA_RETURN_IF_ERROR(Prepare(subject, options_.keys, clock_, err_));
  }
  return absl::OkStatus();
}

// Every other round goes through the phases backwards, so that a machine that grows slower or
// faster does so for all alike.
absl::Status Cost::MeasureRounds(StockSigner& stock) {
  stock.AddRounds(stock_rounds_);
  for (int round = 0; round < options_.rounds; ++round) {
    for (std::size_t i = 0; i < report_.phases.size(); ++i) {
      PhaseCost& phase = report_.phases[round % 2 == 0 ? i : report_.phases.size() - 1 - i];
      BULLA_ASSIGN_OR_RETURN(CostRound cost, MeasureRound(phase.phase, stock));
      err_ << fmt::format("round {}/{}, {}: {:.1f} us, {:.2f} x the stock call, {:.0f} per s",
                          round + 1, options_.rounds, NameOf(phase.phase), cost.sum_us(),
                          cost.ratio(), cost.rate_per_s)
           << std::endl;
      phase.rounds.push_back(cost);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CostRound> Cost::MeasureRound(CostPhase phase, StockSigner& stock) {
  const Subject& subject = SubjectOf(phase);
  Interval interval;
  BULLA_ASSIGN_OR_RETURN(LoadResult result, RunPhase(subject, IsStream(phase), interval));
  stock.AddRounds(stock_rounds_);
  BULLA_RETURN_IF_ERROR(CheckAll(result, subject));
  if (interval.signatures == 0) {
    return absl::FailedPreconditionError("nothing was signed: " + result.first_error);
  }

  // The stock library's rounds just before the load and just after.
  const auto stock_rounds = std::span(stock_rounds_).last(2 * StockSigner::kRounds);
  double signatures = static_cast<double>(interval.signatures);
  return CostRound{.gateway_us = Us(interval.cpu.gateway) / signatures,
                   .enclave_us = Us(interval.cpu.enclaves) / signatures,
                   .stock_us = Us(MedianOf(stock_rounds)),
                   .rate_per_s = signatures / Seconds(interval.time),
                   .signatures = interval.signatures,
                   .refused = result.failed,
                   .p50_ms = Ms(result.latency.Quantile(0.5)),
                   .p99_ms = Ms(result.latency.Quantile(0.99))};
}

absl::StatusOr<LoadResult> Cost::RunPhase(const Subject& subject, bool stream, Interval& interval) {
  absl::Status measured;
  ServiceCpu cpu_before;
  MonotonicTime began;
  LoadPlan plan{.schedule = {.warm_up = options_.warm_up,
                             .measured = options_.measured,
                             .requests_max = kAnswersMax},
                .traffic = stream ? options_.stream : options_.http,
                .keys = subject.keys,
                .seed = seed_};
  bool begins = true;
  plan.at_edge = [&](std::uint64_t answers) {
    absl::StatusOr<ServiceCpu> cpu = CpuTimeOf(subject.service);
    measured.Update(cpu.status());
    if (!cpu.ok()) return;
    if (std::exchange(begins, false)) {
      cpu_before = *cpu;
      interval.signatures = answers;
      began = clock_.Now();
    } else {
      interval = {*cpu - cpu_before, answers - interval.signatures, clock_.Now() - began};
    }
  };
  absl::StatusOr<LoadResult> result = RunLoadBlocking(plan, stream ? subject.grpc : subject.http,
                                                      clock_, [](const LoadProgress&) {});
  BULLA_RETURN_IF_ERROR(measured);
  return result;
}

absl::Status Cost::CheckAll(const LoadResult& result, const Subject& subject) {
  if (result.malformed > 0) return absl::DataLossError("no answer: " + result.first_error);
  if (result.dropped > 0) {
    return absl::FailedPreconditionError(
        fmt::format("{} requests were lost: {}", result.dropped, result.first_error));
  }
  Verification verification = VerifyBlocking(result.answers, subject.keys, seed_, clock_, err_);
  if (verification.wrong > 0) return absl::DataLossError("WRONG: " + verification.first_wrong);
  report_.verified += verification.right + verification.warm_up_right;
  return absl::OkStatus();
}

}  // namespace

BenchExit RunCostBlocking(const CostOptions& options, const Clock& clock, std::ostream& out,
                          std::ostream& err) {
  absl::StatusOr<std::ofstream> json = OpenOutput(options.json_file);
  if (!json.ok()) return Fail(json.status(), err);
  Cost cost(options, clock, err);
  if (absl::Status status = cost.MeasureBlocking(); !status.ok()) return Fail(status, err);
  out << CostText(cost.report());
  absl::Status written = WriteOutput(CostJson(cost.report()), options.json_file, *json);
  return written.ok() ? BenchExit::kOk : Fail(written, err);
}

}  // namespace bulla
