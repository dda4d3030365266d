// What a signature pays for being held to the set of disabled keys: taking the snapshot, once for
// all that arrived together, and a look-up, with none disabled and with many.

#include <benchmark/benchmark.h>

#include "base/random.h"
#include "gateway/link/disabled_keys.h"
#include "tests/fakes/fake_key_store.h"

namespace bulla {
namespace {

// A store that tells of `count` disabled keys, page by page.
class StoreOfDisabled final : public FakeKeyStore {
 public:
  explicit StoreOfDisabled(std::int64_t count) : count_(count) {}
  void ListKeyChanges(std::int64_t after, std::size_t limit,
                      std::function<void(absl::StatusOr<std::vector<KeyChange>>)> done) override {
    std::vector<KeyChange> changes;
    while (after < count_ && changes.size() < limit) {
      changes.push_back({.sequence = ++after});
      FillRandom(changes.back().key_id.bytes);
    }
    done(std::move(changes));
  }

 private:
  const std::int64_t count_;
};

void LookUp(benchmark::State& state) {
  StoreOfDisabled store(state.range(0));
  Metrics metrics;
  DisabledKeys disabled(store, metrics);
  disabled.Tick({});
  std::vector<KeyId> ids(4096);
  for (KeyId& id : ids) FillRandom(id.bytes);
  const auto snapshot = disabled.snapshot();
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(snapshot->Contains(ids[++i % ids.size()]));
}
BENCHMARK(LookUp)->Arg(0)->Arg(1000)->Arg(1'000'000);

void TakeSnapshot(benchmark::State& state) {
  StoreOfDisabled store(0);
  Metrics metrics;
  DisabledKeys disabled(store, metrics);
  disabled.Tick({});
  for (auto _ : state) benchmark::DoNotOptimize(disabled.snapshot());
}
BENCHMARK(TakeSnapshot);

}  // namespace
}  // namespace bulla
