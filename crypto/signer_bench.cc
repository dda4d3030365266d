// What a signature costs, with each check before it leaves; what verifiers pay; and the two steps
// of making and loading a key. BM_Sign's p99_us is what spec.md limits to 300 us.

#include <algorithm>
#include <benchmark/benchmark.h>
#include <chrono>
#include <vector>

#include "base/clock.h"
#include "crypto/address.h"
#include "crypto/key_generation.h"
#include "crypto/signer.h"
#include "crypto/verifier.h"

namespace bulla {
namespace {

struct Fixture {
  explicit Fixture(SignatureCheck check = SignatureCheck::kRecompute)
      : signer(Signer::Create(Bytes(Signer::kSeedBytes), check).value()) {}

  std::unique_ptr<Signer> signer;
  Secret<32> key = GenerateSecretKey(*signer, Bytes(kExtraEntropyBytesMin)).value();
  PublicPoint point = signer->DerivePublic(key).value();
};

double Quantile(std::vector<double>& sorted, double quantile) {
  return sorted[static_cast<std::size_t>(static_cast<double>(sorted.size() - 1) * quantile)];
}

void BM_Sign(benchmark::State& state, SignatureCheck check) {
  Fixture f(check);
  Digest32 digest{};
  RecoverableSignature signature;
  std::vector<double> us;
  us.reserve(1 << 20);
  const RealClock clock;
  for (auto _ : state) {
    ++digest[0];
    const MonotonicTime began = clock.Now();
    benchmark::DoNotOptimize(f.signer->Sign(f.key, f.point, digest, &signature));
    us.push_back(std::chrono::duration<double, std::micro>(clock.Now() - began).count());
  }
  std::ranges::sort(us);
  state.counters["p50_us"] = Quantile(us, 0.5);
  state.counters["p99_us"] = Quantile(us, 0.99);
}
BENCHMARK_CAPTURE(BM_Sign, recompute, SignatureCheck::kRecompute)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Sign, verify, SignatureCheck::kVerify)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Sign, none, SignatureCheck::kNone)->Unit(benchmark::kMicrosecond);

// s_each is what compares with BM_Sign.
void BM_SignBatch(benchmark::State& state, SignatureCheck check) {
  Fixture f(check);
  std::vector<SigningJob> jobs(static_cast<std::size_t>(state.range(0)));
  std::vector<Digest32> digests(jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i] = {.key = &f.key, .point = &f.point, .digest = &digests[i]};
  }
  std::uint8_t turn = 0;
  for (auto _ : state) {
    for (Digest32& digest : digests) digest[0] = ++turn;
    f.signer->SignBatch(jobs);
    benchmark::DoNotOptimize(jobs.data());
  }
  using benchmark::Counter;
  state.counters["s_each"] = Counter(static_cast<double>(jobs.size()),
                                     Counter::kIsIterationInvariantRate | Counter::kInvert);
}
BENCHMARK_CAPTURE(BM_SignBatch, recompute, SignatureCheck::kRecompute)
    ->RangeMultiplier(2)
    ->Range(1, 16);
BENCHMARK_CAPTURE(BM_SignBatch, verify, SignatureCheck::kVerify)->RangeMultiplier(4)->Range(1, 16);
BENCHMARK_CAPTURE(BM_SignBatch, none, SignatureCheck::kNone)->RangeMultiplier(2)->Range(1, 16);

void BM_Verify(benchmark::State& state) {
  Fixture f;
  Digest32 digest{};
  RecoverableSignature signature;
  if (!f.signer->Sign(f.key, f.point, digest, &signature)) state.SkipWithError("no signature");
  PublicKey33 public_key = f.signer->Compress(f.point);
  for (auto _ : state) {
    benchmark::DoNotOptimize(VerifySignature(public_key, digest, signature.rs));
  }
}
BENCHMARK(BM_Verify)->Unit(benchmark::kMicrosecond);

void BM_DerivePublic(benchmark::State& state) {
  Fixture f;
  for (auto _ : state) benchmark::DoNotOptimize(f.signer->DerivePublic(f.key));
}
BENCHMARK(BM_DerivePublic)->Unit(benchmark::kMicrosecond);

void BM_NewKeyAndAddress(benchmark::State& state) {
  Fixture f;
  Bytes entropy(kExtraEntropyBytesMin);
  for (auto _ : state) {
    Secret<32> key = GenerateSecretKey(*f.signer, entropy).value();
    PublicKey33 public_key = f.signer->Compress(f.signer->DerivePublic(key).value());
    benchmark::DoNotOptimize(ToEip55(AddressOf(public_key).value()));
  }
}
BENCHMARK(BM_NewKeyAndAddress)->Unit(benchmark::kMicrosecond);

void BM_CreateWithSelfTest(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Signer::Create(Bytes(Signer::kSeedBytes)));
}
BENCHMARK(BM_CreateWithSelfTest)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bulla
