// bulla-bench: load on a running Bulla, and what came of it.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sys/resource.h>

#include <CLI/CLI.hpp>

#include "base/random.h"
#include "bench/run_command.h"

namespace {

constexpr const char* kFooter =
    "Exit status: 0 done, every signature is right (failed and dropped requests are in the\n"
    "report); 1 a signature is wrong or an answer makes no sense; 2 wrong command line; 3 nothing\n"
    "is running there; 4 the service makes no keys.";

constexpr const char* kRunFooter =
    "Examples:\n"
    "  bulla-bench run --rate 5000 --connections 500 --duration 1m   latency at a paced load\n"
    "  bulla-bench run --connections 64 --json capacity.json         capacity: as fast as it goes\n"
    "  bulla-bench run --url http://10.0.0.7:8080 --rate 200 --duration 15m\n"
    "With --rate, requests are due at even steps whatever became of those before (open loop), and\n"
    "latency counts from when a request was due. Without it each connection sends its next "
    "request\n"
    "when the last is answered (closed loop).";

constexpr int kConnectionsMax = 20'000;
constexpr int kKeysMax = 100'000;
constexpr double kRateMax = 1e6;
constexpr std::int64_t kDurationMaxMs = 24 * 3600 * 1000;

const std::map<std::string, std::int64_t> kUnits{
    {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};

// Each connection is a file descriptor, and the usual limit is 1024.
void AllowManyConnections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // if it stays as it was, connecting says so
}

CLI::Option* AddDuration(CLI::App& command, const char* name, std::int64_t& ms, const char* what) {
  return command.add_option(name, ms, what)
      ->transform(CLI::AsNumberWithUnit(kUnits, CLI::AsNumberWithUnit::UNIT_REQUIRED, "TIME"))
      ->check(CLI::Range(std::int64_t{0}, kDurationMaxMs));
}

}  // namespace

int main(int argc, char** argv) {
  bulla::RunOptions options{.run = {.url = "http://127.0.0.1:8080",
                                    .connections = 100,
                                    .keys = 16,
                                    .seed = bulla::RandomUint64()}};
  bulla::RunDescription& description = options.run;
  const char* url = std::getenv("BULLA_URL");  // NOLINT(concurrency-mt-unsafe): no threads yet
  if (url != nullptr && *url != '\0') description.url = url;
  std::int64_t duration_ms = 10'000;
  std::int64_t warm_up_ms = 2000;

  CLI::App app("Measures a running Bulla, and checks every signature that it gives.",
               "bulla-bench");
  app.footer(kFooter);
  app.require_subcommand(1);
  CLI::App* run = app.add_subcommand("run", "Send signatures' requests, report latencies");
  run->footer(kRunFooter);
  run->add_option("--url", description.url, "The service's HTTP address; also $BULLA_URL")
      ->capture_default_str();
  run->add_option("--rate", description.rate_per_s,
                  "Requests due per second (open loop); without it a closed loop")
      ->check(CLI::Range(0.1, kRateMax));
  run->add_option("--connections", description.connections, "How many, kept open")
      ->check(CLI::Range(1, kConnectionsMax))
      ->capture_default_str();
  run->add_option("--keys", description.keys, "How many to make first and sign with in turn")
      ->check(CLI::Range(1, kKeysMax))
      ->capture_default_str();
  AddDuration(*run, "--duration", duration_ms, "How long to measure (500ms, 10s, 15m) [10s]");
  AddDuration(*run, "--warm-up", warm_up_ms, "How long before that to warm up, uncounted [2s]");
  run->add_option("--seed", description.seed, "Of the digests; the same seed, the same digests");
  run->add_option("--json", options.json_file, "Also write the figures to this file, as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return static_cast<int>(app.exit(error) == 0 ? bulla::BenchExit::kOk
                                                 : bulla::BenchExit::kUsage);
  }
  description.duration = std::chrono::milliseconds(std::max<std::int64_t>(duration_ms, 1));
  description.warm_up = std::chrono::milliseconds(warm_up_ms);
  AllowManyConnections();
  bulla::RealClock clock;
  return static_cast<int>(bulla::RunBlocking(options, clock, std::cout, std::cerr));
}
