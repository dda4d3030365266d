// Durable rows a second, and how long one caller waits, with 1 to 500 callers at once; then reads.
// The file lies in TMPDIR: set it to the disk that is to be measured, for the fsync is what counts.

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <filesystem>
#include <future>

#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"
#include "store/sqlite/store.h"

namespace bulla {
namespace {

struct Fixture {
  std::filesystem::path directory;
  std::unique_ptr<SqliteStore> store;
  DekRow dek{DekId::New(RealClock().WallNow()), Bytes(200), "arn", RealClock().WallNow()};

  Fixture() {
    std::string pattern = std::filesystem::temp_directory_path() / "bulla-bench-XXXXXX";
    directory = ::mkdtemp(pattern.data());
    store = SqliteStore::Open({.path = directory / "bulla.db"}).value();
    store->PutDek(dek, [](const absl::Status&) {});
  }
  ~Fixture() {
    store.reset();
    std::filesystem::remove_all(directory);
  }

  KeyRow NewKey() const {
    KeyRow row;
    row.key_id = KeyId::New(RealClock().WallNow());
    row.dek_id = dek.dek_id;
    row.blob = Bytes(129);
    row.address = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
    row.created_at = RealClock().WallNow();
    return row;
  }
};

// So many callers, each of which puts its next row when the last one is durable, until `rows` have
// been put. Callbacks come from the writer's thread alone, so they need no lock.
class ClosedLoop {
 public:
  ClosedLoop(Fixture& fixture, std::size_t callers, std::size_t rows)
      : fixture_(fixture), to_start_(rows), to_finish_(rows) {
    latencies_us_.reserve(rows);
    for (std::size_t i = 0; i < callers; ++i) first_.push_back(fixture.NewKey());
  }

  void RunBlocking() {
    std::future<void> finished = finished_.get_future();
    to_start_ -= first_.size();
    for (KeyRow& row : first_) Put(std::move(row));
    finished.wait();
  }
  double PercentileUs(double part) {
    std::sort(latencies_us_.begin(), latencies_us_.end());
    return latencies_us_[static_cast<std::size_t>(part *
                                                  static_cast<double>(latencies_us_.size() - 1))];
  }

 private:
  using Steady = std::chrono::steady_clock;

  void Put(KeyRow row) {
    fixture_.store->PutKey(std::move(row), std::nullopt,
                           [this, begun = Steady::now()](const absl::StatusOr<KeyRow>&) {
                             std::chrono::duration<double, std::micro> took = Steady::now() - begun;
                             latencies_us_.push_back(took.count());
                             if (to_start_ > 0) {
                               --to_start_;
                               Put(fixture_.NewKey());
                             }
                             if (--to_finish_ == 0) finished_.set_value();
                           });
  }

  Fixture& fixture_;
  std::size_t to_start_;
  std::size_t to_finish_;
  std::vector<KeyRow> first_;
  std::vector<double> latencies_us_;
  std::promise<void> finished_;
};

void BM_PutKey(benchmark::State& state) {
  Fixture fixture;
  auto callers = static_cast<std::size_t>(state.range(0));
  std::size_t rows = callers * 100;
  std::int64_t transactions = 0;
  double p50 = 0;
  double p99 = 0;
  for (auto _ : state) {
    std::int64_t before = fixture.store->transactions();
    ClosedLoop loop(fixture, callers, rows);
    loop.RunBlocking();
    transactions += fixture.store->transactions() - before;
    p50 = loop.PercentileUs(0.5);
    p99 = loop.PercentileUs(0.99);
  }
  auto written = static_cast<double>(rows) * static_cast<double>(state.iterations());
  state.counters["rows"] = benchmark::Counter(written, benchmark::Counter::kIsRate);
  state.counters["rows_per_transaction"] = written / static_cast<double>(transactions);
  state.counters["p50_us"] = p50;
  state.counters["p99_us"] = p99;
}
BENCHMARK(BM_PutKey)->Arg(1)->Arg(50)->Arg(500)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_FindKey(benchmark::State& state) {
  Fixture fixture;
  KeyRow row = fixture.NewKey();
  std::promise<void> put;
  fixture.store->PutKey(row, std::nullopt, [&](const auto&) { put.set_value(); });
  put.get_future().wait();
  for (auto _ : state) {
    std::promise<void> found;
    fixture.store->FindKey(row.key_id, [&](const auto&) { found.set_value(); });
    found.get_future().wait();
  }
}
BENCHMARK(BM_FindKey)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bulla
