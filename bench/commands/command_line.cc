#include "bench/commands/command_line.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/command_line.h"
#include "base/limits.h"
#include "base/random.h"
#include "base/thread.h"
#include "bench/commands/capacity_command.h"
#include "bench/commands/cost_command.h"
#include "bench/commands/gate_command.h"
#include "bench/commands/matrix_command.h"
#include "bench/commands/run_command.h"

namespace bulla {
namespace {

constexpr const char* kFooter =
    "Exit status: 0 done, every signature is right (failed and dropped requests are in the\n"
    "report); 1 a signature is wrong or an answer makes no sense; 2 wrong command line; 3 nothing\n"
    "is running there; 4 the service makes no keys, or did not sign what a measurement is of; 5 "
    "the\n"
    "gate is missed; 6 the report could not be written to standard output.\n"
    "`bulla-bench COMMAND --help` shows examples.";

constexpr const char* kRunFooter =
    "Examples:\n"
    "  bulla-bench run --rate 5000 --connections 500 --duration 1m   latency at a paced load\n"
    "  bulla-bench run --connections 64 --json capacity.json         capacity: as fast as it goes\n"
    "  bulla-bench run --url http://10.0.0.7:8080 --rate 200 --duration 15m\n"
    "  bulla-bench run --protocol http-batch --batch 32 --connections 8\n"
    "  bulla-bench run --protocol grpc --rate 2000 --connections 50\n"
    "  bulla-bench run --protocol stream --batch 32 --connections 2 --streams 2\n"
    "With --rate, requests are due at even steps whatever became of those before (open loop), and\n"
    "latency counts from when a request was due. Without it each connection sends its next "
    "request\n"
    "when the last is answered (closed loop). A request is one signature; with batches, those "
    "that\n"
    "are due by then travel together.";

constexpr const char* kCostFooter =
    "Examples:\n"
    "  bulla-bench cost --json cost.json                             all four, under a minute\n"
    "  bulla-bench cost --phases http --rounds 5 --duration 5s\n"
    "  bulla-bench cost --target bulla-data/endpoints.json --phases http,stream\n"
    "CPU time of gateway and enclaves per signature, by the kernel's account, in closed loops; "
    "each\n"
    "ratio is the median of the rounds'. Without --target it starts services of its own, and the\n"
    "unverified phases have one whose enclaves do not check what they signed.";

constexpr const char* kCapacityFooter =
    "Examples:\n"
    "  bulla-bench capacity\n"
    "  bulla-bench capacity --protocol stream --connections 4 --cpu-max 100\n"
    "  bulla-bench capacity --target bulla-data/endpoints.json --from 5000 --duration 20s\n"
    "Paced steps (open loop), each half as much again as the last, until one breaks a limit; then\n"
    "halves what is between, to 5 %. A step that breaks is tried a second time.";

constexpr const char* kGateFooter =
    "Examples:\n"
    "  bulla-bench gate --rate 5000                    15 minutes over 500 connections\n"
    "  bulla-bench gate --share 0.5 --duration 1m      at half of the capacity, measured first\n"
    "  bulla-bench gate --target bulla-data/endpoints.json --rate 2000 --json gate.json\n"
    "Passed when p99 < 10 ms, failed and dropped < 0.5 %, CPU of gateway and enclaves < 75 % of "
    "the\n"
    "machine's, and engine_q_depth (from /metrics, once a second) < 1 on average.";

constexpr const char* kMatrixFooter =
    "Examples:\n"
    "  bulla-bench matrix                                        all cells, some minutes\n"
    "  bulla-bench matrix --workers 1 --batching on --checks recompute,none\n"
    "  bulla-bench matrix --protocol stream --connections 4 --rate 5000\n"
    "Each cell has a service of its own: first as fast as it goes (closed loop), then at a rate "
    "that\n"
    "is the same for all. The report is kept in bench/reports, named after the date and the "
    "commit.";

constexpr const char* kHttpUrl = "http://127.0.0.1:8080";
constexpr const char* kGrpcUrl = "127.0.0.1:9090";

constexpr int kConnectionsMax = 20'000;
constexpr int kBatchMax = static_cast<int>(limits::kBatchItemsMax);
constexpr int kStreamsMax = 100;  // what HTTP/2 servers commonly allow on a connection
constexpr int kMessagesMax = 64;
constexpr int kKeysMax = 100'000;
constexpr int kEnclavesMax = 16;  // of `bulla dev`
constexpr int kWorkersMax = 256;  // of an enclave
constexpr int kRoundsMax = 1000;
constexpr double kRateMax = 1e6;
constexpr std::int64_t kDurationMaxMs = 24 * 3600 * 1000;

// Everything that may stand on the command line.
struct Arguments {
  RunOptions run;
  CostOptions cost;
  std::vector<std::string> cost_phases;
  CapacityOptions capacity;
  GateOptions gate;
  MatrixOptions matrix;
  int workers_max = static_cast<int>(UsableCpus());
  std::vector<std::string> batchings{"on", "off"};
  std::vector<std::string> signature_checks{"recompute", "verify", "none"};
};

// Each connection is a file descriptor, and the usual limit is 1024.
void AllowManyConnections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // if it stays as it was, connecting says so
}

// `time` holds the default. Takes 500ms, 10s, 15m.
CLI::Option* AddDuration(CLI::App& command, const char* name, Duration& time, const char* what) {
  static const std::map<std::string, std::int64_t> kUnits{
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  auto set = [&time](const std::int64_t& ms) { time = std::chrono::milliseconds(ms); };
  return command.add_option_function<std::int64_t>(name, set, what)
      ->transform(CLI::AsNumberWithUnit(kUnits, CLI::AsNumberWithUnit::UNIT_REQUIRED, "TIME"))
      ->check(CLI::Range(std::int64_t{0}, kDurationMaxMs));
}

void AddJson(CLI::App& command, std::filesystem::path& file) {
  command.add_option("--json", file, "Also write the figures to this file, as JSON");
}

void AddKeys(CLI::App& command, int& keys) {
  command.add_option("--keys", keys, "How many to make first and sign with in turn")
      ->check(CLI::Range(1, kKeysMax))
      ->capture_default_str();
}

void AddConnections(CLI::App& command, int& connections) {
  command.add_option("--connections", connections, "How many, kept open")
      ->check(CLI::Range(1, kConnectionsMax))
      ->capture_default_str();
}

void AddService(CLI::App& command, std::string& url, std::filesystem::path& target) {
  CLI::Option* option = command.add_option(
      "--url", url,
      fmt::format(
          "The address of the protocol's listener [{}, for gRPC {}; for HTTP also $BULLA_URL]",
          kHttpUrl, kGrpcUrl));
  command
      .add_option("--target", target, "Instead of it the endpoints.json of a running `bulla dev`")
      ->excludes(option);
}

void AddTraffic(CLI::App& command, Traffic& traffic) {
  static const std::map<std::string, Protocol> kProtocols = [] {
    std::map<std::string, Protocol> protocols;
    for (Protocol protocol :
         {Protocol::kHttp, Protocol::kHttpBatch, Protocol::kGrpc, Protocol::kStream}) {
      protocols.emplace(NameOf(protocol), protocol);
    }
    return protocols;
  }();
  auto set = [&traffic](const std::string& name) { traffic.protocol = kProtocols.at(name); };
  command.add_option_function<std::string>("--protocol", set, "How requests travel [http]")
      ->check(CLI::IsMember(kProtocols));
  AddConnections(command, traffic.connections);
  command
      .add_option("--batch", traffic.batch,
                  "Requests that may travel in one message, of http-batch and stream [32]")
      ->check(CLI::Range(1, kBatchMax));
  command.add_option("--streams", traffic.streams, "On each connection, of stream")
      ->check(CLI::Range(1, kStreamsMax))
      ->capture_default_str();
  command.add_option("--messages", traffic.messages, "Under way at once on each stream")
      ->check(CLI::Range(1, kMessagesMax))
      ->capture_default_str();
}

void AddRun(CLI::App& app, RunOptions& options) {
  RunDescription& run = options.run;
  CLI::App* command = app.add_subcommand("run", "Send signatures' requests, report latencies");
  command->footer(kRunFooter);
  AddService(*command, run.url, options.target);
  command
      ->add_option("--rate", run.rate_per_s,
                   "Requests due per second (open loop); without it a closed loop")
      ->check(CLI::Range(0.1, kRateMax));
  AddTraffic(*command, run.traffic);
  AddKeys(*command, run.keys);
  AddDuration(*command, "--duration", run.duration, "How long to measure (500ms, 10s, 15m) [10s]");
  AddDuration(*command, "--warm-up", run.warm_up,
              "How long before that to warm up, uncounted [2s]");
  command->add_option("--seed", run.seed, "Of the digests; the same seed, the same digests");
  AddJson(*command, options.json_file);
  command->add_option("--markdown", options.markdown_file, "Likewise, as Markdown");
  command->add_option("--html", options.html_file,
                      "Likewise, as one HTML page with plots over percentiles and time");
}

void AddCost(CLI::App& app, Arguments& arguments) {
  CostOptions& options = arguments.cost;
  CLI::App* command =
      app.add_subcommand("cost", "What a signature costs, in calls of the stock library");
  command->footer(kCostFooter);
  for (CostPhase phase : kCostPhases) arguments.cost_phases.push_back(NameOf(phase));
  const std::vector<std::string> all = arguments.cost_phases;
  command->add_option("--phases", arguments.cost_phases, "Which to measure, with commas between")
      ->delimiter(',')
      ->check(CLI::IsMember(all))
      ->capture_default_str();
  command->add_option("--target", options.target,
                      "The endpoints.json of a running `bulla dev`, instead of an own service");
  command->add_option("--enclaves", options.service.enclaves, "Of an own service")
      ->check(CLI::Range(1, kEnclavesMax))
      ->capture_default_str();
  command->add_option("--rounds", options.rounds, "Of each phase")
      ->check(CLI::Range(1, kRoundsMax))
      ->capture_default_str();
  AddConnections(*command, options.http.connections);
  command->add_option("--streams", options.stream.streams, "On each of two connections")
      ->check(CLI::Range(1, kStreamsMax))
      ->capture_default_str();
  command->add_option("--messages", options.stream.messages, "Under way at once on each stream")
      ->check(CLI::Range(1, kMessagesMax))
      ->capture_default_str();
  command->add_option("--batch", options.stream.batch, "Signatures in each of them")
      ->check(CLI::Range(1, kBatchMax))
      ->capture_default_str();
  AddKeys(*command, options.keys);
  AddDuration(*command, "--duration", options.measured, "Of each round [1.2s]");
  AddDuration(*command, "--warm-up", options.warm_up, "Before each round, uncounted [300ms]");
  AddJson(*command, options.json_file);
}

// The service: one that runs, or one of its own.
void AddServiceChoice(CLI::App& command, ServiceChoice& choice) {
  command.add_option("--target", choice.target,
                     "The endpoints.json of a running `bulla dev`, instead of an own service");
  command.add_option("--enclaves", choice.own.enclaves, "Of an own service")
      ->check(CLI::Range(1, kEnclavesMax))
      ->capture_default_str();
}

void AddCapacity(CLI::App& app, CapacityOptions& options) {
  CLI::App* command = app.add_subcommand("capacity", "The highest paced rate that a service holds");
  command->footer(kCapacityFooter);
  AddServiceChoice(*command, options.service);
  AddTraffic(*command, options.run.traffic);
  AddKeys(*command, options.run.keys);
  command->add_option("--from", options.first_per_s, "The first rate, per second")
      ->check(CLI::Range(1.0, kRateMax))
      ->capture_default_str();
  command->add_option("--p99-max", options.limits.p99_ms, "In ms")->capture_default_str();
  command
      ->add_option("--cpu-max", options.limits.cpu_percent, "Of gateway and enclaves, in percent")
      ->capture_default_str();
  AddDuration(*command, "--duration", options.run.duration, "Of each step [5s]");
  AddDuration(*command, "--warm-up", options.run.warm_up, "Before each step, uncounted [1s]");
  AddJson(*command, options.json_file);
}

void AddGate(CLI::App& app, GateOptions& options) {
  CLI::App* command = app.add_subcommand("gate", "Does it bear the load that it has to?");
  command->footer(kGateFooter);
  AddServiceChoice(*command, options.service);
  AddTraffic(*command, options.run.traffic);
  AddKeys(*command, options.run.keys);
  CLI::Option* rate =
      command->add_option("--rate", options.run.rate_per_s, "Requests due per second")
          ->check(CLI::Range(0.1, kRateMax));
  command
      ->add_option("--share", options.share_of_capacity,
                   "Without --rate: of the capacity, which is measured first")
      ->check(CLI::Range(0.01, 1.0))
      ->excludes(rate)
      ->capture_default_str();
  AddDuration(*command, "--duration", options.run.duration, "How long to measure [15m]");
  AddDuration(*command, "--warm-up", options.run.warm_up, "Before that, uncounted [5s]");
  AddJson(*command, options.json_file);
}

// A list of some of `values`, with commas between.
void AddChoices(CLI::App& command, const char* name, std::vector<std::string>& values,
                const char* what) {
  command.add_option(name, values, what)
      ->delimiter(',')
      ->check(CLI::IsMember(std::vector<std::string>(values)))
      ->capture_default_str();
}

void AddMatrix(CLI::App& app, Arguments& arguments) {
  MatrixOptions& options = arguments.matrix;
  CLI::App* command =
      app.add_subcommand("matrix", "The same load on services that are set up differently");
  command->footer(kMatrixFooter);
  command->add_option("--workers", arguments.workers_max, "Signing threads: 1, 2, ... to this many")
      ->check(CLI::Range(1, kWorkersMax))
      ->capture_default_str();
  AddChoices(*command, "--batching", arguments.batchings, "Requests travel together, or alone");
  AddChoices(*command, "--checks", arguments.signature_checks,
             "How enclaves check each signature before it leaves");
  command->add_option("--enclaves", options.service.enclaves, "Of each service")
      ->check(CLI::Range(1, kEnclavesMax))
      ->capture_default_str();
  AddTraffic(*command, options.paced.traffic);
  AddKeys(*command, options.paced.keys);
  command->add_option("--rate", options.paced.rate_per_s, "Of the paced part, per second")
      ->check(CLI::Range(0.1, kRateMax))
      ->capture_default_str();
  AddDuration(*command, "--duration", options.paced.duration, "Of the paced part [5s]");
  AddDuration(*command, "--closed-duration", options.closed.duration, "Of the closed loop [2s]");
  command->add_option("--reports", options.reports, "Where the report is kept")
      ->capture_default_str();
  AddJson(*command, options.json_file);
}

BenchExit RunMatrix(Arguments& arguments, const BenchSurroundings& surroundings, const Clock& clock,
                    std::ostream& out, std::ostream& err) {
  MatrixOptions& options = arguments.matrix;
  options.service.program_dir = surroundings.program_dir;
  options.commit = surroundings.build.commit;
  options.cells = CellsOf(arguments.workers_max, arguments.batchings, arguments.signature_checks);
  options.closed.traffic = options.paced.traffic;
  options.closed.keys = options.paced.keys;
  return RunMatrixBlocking(options, clock, out, err);
}

BenchExit RunCost(Arguments& arguments, const BenchSurroundings& surroundings, const Clock& clock,
                  std::ostream& out, std::ostream& err) {
  CostOptions& options = arguments.cost;
  options.service.program_dir = surroundings.program_dir;
  for (CostPhase phase : kCostPhases) {
    if (std::find(arguments.cost_phases.begin(), arguments.cost_phases.end(), NameOf(phase)) ==
        arguments.cost_phases.end()) {
      continue;
    }
    if (IsUnverified(phase) && !options.target.empty()) {
      return Fail(absl::InvalidArgumentError(
                      "how the target checks its signatures is its own affair: with --target only "
                      "--phases http,stream"),
                  err);
    }
    options.phases.push_back(phase);
  }
  return RunCostBlocking(options, clock, out, err);
}

void SetUrl(RunDescription& run, const BenchSurroundings& surroundings) {
  if (!run.url.empty()) return;
  run.url = IsGrpc(run.traffic.protocol) ? kGrpcUrl : kHttpUrl;
  bool set = surroundings.url != nullptr && *surroundings.url != '\0';
  if (set && !IsGrpc(run.traffic.protocol)) run.url = surroundings.url;
}

BenchExit OutputLost(const absl::Status& status, std::ostream& err) {
  err << "bulla-bench: " << status.message() << std::endl;
  return BenchExit::kOutputLost;
}

// The sub-command that was parsed.
BenchExit RunCommandBlocking(const CLI::App& app, Arguments& arguments,
                             const BenchSurroundings& surroundings, const Clock& clock,
                             std::ostream& out, std::ostream& err) {
  AllowManyConnections();
  if (app.got_subcommand("cost")) return RunCost(arguments, surroundings, clock, out, err);
  for (ServiceChoice* service : {&arguments.capacity.service, &arguments.gate.service}) {
    service->own.program_dir = surroundings.program_dir;
  }
  if (app.got_subcommand("matrix")) return RunMatrix(arguments, surroundings, clock, out, err);
  if (app.got_subcommand("capacity")) {
    return RunCapacityBlocking(arguments.capacity, clock, out, err);
  }
  if (app.got_subcommand("gate")) return RunGateBlocking(arguments.gate, clock, out, err);
  SetUrl(arguments.run.run, surroundings);
  return RunBlocking(arguments.run, clock, out, err);
}

}  // namespace

BenchExit RunBenchBlocking(int argc, const char* const* argv, const BenchSurroundings& surroundings,
                           const Clock& clock, std::ostream& out, std::ostream& err) {
  Arguments arguments;
  for (RunDescription* run : {&arguments.run.run, &arguments.capacity.run, &arguments.gate.run,
                              &arguments.matrix.closed, &arguments.matrix.paced}) {
    run->seed = RandomUint64();
  }
  CLI::App app("Measures a running Bulla, and checks every signature that it gives.",
               "bulla-bench");
  app.footer(kFooter);
  app.require_subcommand(1);
  AddRun(app, arguments.run);
  AddCost(app, arguments);
  AddCapacity(app, arguments.capacity);
  AddGate(app, arguments.gate);
  AddMatrix(app, arguments);
  if (std::optional<int> status = ParseCommandLine(app, surroundings.build, argc, argv, out, err)) {
    return static_cast<BenchExit>(*status);
  }
  // Nobody is to wait fifteen minutes for figures that go nowhere.
  if (surroundings.out_fd >= 0) {
    if (absl::Status writable = CheckWritable(surroundings.out_fd); !writable.ok()) {
      return OutputLost(writable, err);
    }
  }
  const BenchExit exit = RunCommandBlocking(app, arguments, surroundings, clock, out, err);
  const absl::Status written = FlushOutput(out);
  if (written.ok()) return exit;
  const BenchExit lost = OutputLost(written, err);
  return exit == BenchExit::kOk ? lost : exit;
}

}  // namespace bulla
