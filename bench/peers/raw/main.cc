// What one signature costs in a loop, without any service around it: CPU time of one thread,
// library by library. The loops take turns, so that what else happens on the machine happens to all
// of them.

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <thread>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include "base/thread.h"
#include "bench/load/answer_log.h"
#include "bench/peers/raw/engine.h"

namespace peers {
namespace {

struct Flags {
  int rounds = 9;
  std::size_t count = 2000;
  std::size_t keys = 16;
  std::uint64_t seed = 1;
  std::size_t sessions = bulla::UsableCpus();
  std::filesystem::path json_file;
};

// One row of the table.
struct Case {
  std::string name;
  RawEngine* engine = nullptr;
  bool verify = false;
  std::size_t threads = 1;
  std::vector<double> cpu_us{};      // per signature, of each round
  std::vector<double> per_second{};  // signatures of all threads, of each round
};

double Seconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// One thread's loop. Signatures are kept and judged off the clock.
class Loop {
 public:
  Loop(const Case& row, const Flags& flags, std::size_t thread)
      : session_(row.engine->OpenSession()),
        verify_(row.verify),
        keys_(flags.keys),
        signatures_(flags.count) {
    for (std::size_t i = 0; i < flags.count; ++i) {
      digests_.push_back(bulla::DigestOf(flags.seed, thread * flags.count + i));
    }
  }

  // The CPU time of the calling thread, in seconds.
  double Run() {
    double before = Seconds(CLOCK_THREAD_CPUTIME_ID);
    for (std::size_t i = 0; i < digests_.size(); ++i) {
      std::size_t key = bulla::KeyOf(i, keys_);
      good_ = session_->Sign(key, digests_[i], signatures_[i]) &&
              (!verify_ || session_->Verify(key, digests_[i], signatures_[i])) && good_;
    }
    return Seconds(CLOCK_THREAD_CPUTIME_ID) - before;
  }

  bool AllRight(std::span<const RawKey> keys) const {
    if (!good_) return false;
    for (std::size_t i = 0; i < digests_.size(); ++i) {
      if (!IsRightRawSignature(keys[bulla::KeyOf(i, keys_)], digests_[i], signatures_[i])) {
        return false;
      }
    }
    return true;
  }

 private:
  const std::unique_ptr<RawSession> session_;
  const bool verify_;
  const std::size_t keys_;
  std::vector<bulla::Digest32> digests_;
  std::vector<RawSignature> signatures_;
  bool good_ = true;
};

void RunRound(Case& row, const Flags& flags, std::span<const RawKey> keys) {
  std::vector<std::unique_ptr<Loop>> loops;
  for (std::size_t i = 0; i < row.threads; ++i) {
    loops.push_back(std::make_unique<Loop>(row, flags, i));
  }
  std::vector<double> cpu(row.threads);
  double before = Seconds(CLOCK_MONOTONIC);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < row.threads; ++i) {
      threads.emplace_back([&, i] { cpu[i] = loops[i]->Run(); });
    }
    cpu[0] = loops[0]->Run();
  }
  double wall = Seconds(CLOCK_MONOTONIC) - before;
  double signatures = static_cast<double>(row.threads * flags.count);
  double cpu_sum = 0;
  for (double each : cpu) cpu_sum += each;
  row.cpu_us.push_back(cpu_sum / signatures * 1e6);
  row.per_second.push_back(signatures / wall);
  for (const std::unique_ptr<Loop>& loop : loops) {
    if (!loop->AllRight(keys)) throw std::runtime_error(row.name + ": a signature is wrong");
  }
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void AddCases(std::vector<Case>& cases, const std::string& name, RawEngine& engine) {
  cases.push_back({.name = name, .engine = &engine});
  cases.push_back({.name = name + ", verified", .engine = &engine, .verify = true});
}

void PrintTable(const std::vector<Case>& cases) {
  std::cout << fmt::format("{:<46}{:>8}{:>18}{:>14}\n", "", "threads", "CPU us/signature",
                           "signatures/s");
  for (const Case& row : cases) {
    std::cout << fmt::format("{:<46}{:>8}{:>18.1f}{:>14.0f}\n", row.name, row.threads,
                             Median(row.cpu_us), Median(row.per_second));
  }
}

void WriteJson(const std::vector<Case>& cases, const std::filesystem::path& path) {
  boost::json::array rows;
  for (const Case& row : cases) {
    rows.push_back({{"name", row.name},
                    {"engine", row.engine->Version()},
                    {"verified", row.verify},
                    {"threads", row.threads},
                    {"cpu_us", Median(row.cpu_us)},
                    {"per_second", Median(row.per_second)}});
  }
  std::ofstream file(path);
  file << rows << "\n" << std::flush;
  if (!file) throw std::runtime_error(path.string() + " cannot be written");
}

void Run(const Flags& flags) {
  std::vector<RawKey> keys = MakeRawKeys(flags.seed, flags.keys);
  std::unique_ptr<RawEngine> stock = MakeStockEngine(keys);
  std::unique_ptr<RawEngine> openssl = MakeOpenSslEngine(keys);
  std::unique_ptr<RawEngine> session_objects = MakeSoftHsmEngine(keys, false);
  std::unique_ptr<RawEngine> token_objects = MakeSoftHsmEngine(keys, true);
  std::vector<Case> cases;
  AddCases(cases, "libsecp256k1, Debian's", *stock);
  AddCases(cases, "OpenSSL, EVP", *openssl);
  AddCases(cases, "SoftHSM2, keys in the session", *session_objects);
  AddCases(cases, "SoftHSM2, keys on the token", *token_objects);
  for (auto* engine : {&session_objects, &token_objects}) {
    if (flags.sessions < 2) break;
    bool on_token = engine == &token_objects;
    cases.push_back(
        {.name = on_token ? "SoftHSM2, keys on the token" : "SoftHSM2, keys in the session",
         .engine = engine->get(),
         .threads = flags.sessions});
  }
  for (const auto* engine : {&stock, &openssl, &session_objects}) {
    std::cerr << "with " << (*engine)->Version() << "\n";
  }
  for (int round = 0; round < flags.rounds; ++round) {
    std::cerr << fmt::format("round {} of {}", round + 1, flags.rounds) << std::endl;
    for (Case& row : cases) RunRound(row, flags, keys);
  }
  PrintTable(cases);
  if (!flags.json_file.empty()) WriteJson(cases, flags.json_file);
}

}  // namespace
}  // namespace peers

int main(int argc, char** argv) {
  peers::Flags flags;
  CLI::App app("What a signature costs in a loop: medians over rounds that take turns.",
               "peer-raw");
  app.add_option("--rounds", flags.rounds, "How many, of each")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--count", flags.count, "Signatures of a thread in a round")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--keys", flags.keys, "How many to sign with in turn")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--seed", flags.seed, "Of keys and digests")->capture_default_str();
  app.add_option("--sessions", flags.sessions, "Threads of SoftHSM2's last rows, a session each")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--json", flags.json_file, "Also write the figures to this file, as JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    peers::Run(flags);
  } catch (const std::exception& error) {
    std::cerr << "peer-raw: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
