// What a signature costs: Sign (with the check before it leaves), the check alone by difference
// with what verifiers pay, and the two steps of making and loading a key.

#include <benchmark/benchmark.h>

#include "crypto/address.h"
#include "crypto/key_generation.h"
#include "crypto/signer.h"
#include "crypto/verifier.h"

namespace bulla {
namespace {

struct Fixture {
  std::unique_ptr<Signer> signer = Signer::Create(Bytes(Signer::kSeedBytes)).value();
  Secret<32> key = GenerateSecretKey(*signer, Bytes(kExtraEntropyBytesMin)).value();
  PublicPoint point = signer->DerivePublic(key).value();
};

void BM_Sign(benchmark::State& state) {
  Fixture f;
  Digest32 digest{};
  RecoverableSignature signature;
  for (auto _ : state) {
    ++digest[0];
    benchmark::DoNotOptimize(f.signer->Sign(f.key, f.point, digest, &signature));
  }
}
BENCHMARK(BM_Sign)->Unit(benchmark::kMicrosecond);

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
