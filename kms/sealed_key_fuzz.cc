// Whatever the parent hands an enclave as a blob: parsing must stand it, and nothing opens but what
// was sealed. The input is taken twice, as a blob and as changes to a good one.

#include <algorithm>
#include <cstdlib>

#include "kms/sealed_key.h"

namespace bulla {
namespace {

struct Fixture {
  std::unique_ptr<Signer> signer = Signer::Create(Bytes(Signer::kSeedBytes)).value();
  Secret<32> dek;
  Secret<32> key;
  SealedKeyHeader header;
  Bytes blob;

  Fixture() {
    // The keys of the seed in the corpus.
    std::fill(dek.Expose().begin(), dek.Expose().end(), std::uint8_t{0xdd});
    std::fill(key.Expose().begin(), key.Expose().end(), std::uint8_t{0x77});
    header.key_id.bytes.fill(0x11);
    header.dek_id.bytes.fill(0x22);
    header.public_key = signer->Compress(signer->DerivePublic(key).value());
    blob = SealKey(dek, header, key).value();
  }

  // What opens holds the one key that was ever sealed under this DEK.
  void Check(ByteSpan input) const {
    absl::StatusOr<OpenedKey> opened = OpenSealedKey(dek, input, header.key_id, *signer);
    if (!opened.ok()) return;
    if (!ConstantTimeEquals(opened->key.Expose(), key.Expose())) std::abort();
    if (ParseSealedKey(input).value() != header) std::abort();
  }
};

}  // namespace
}  // namespace bulla

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bulla::Fixture fixture;
  fixture.Check({data, size});

  bulla::Bytes changed = fixture.blob;
  for (std::size_t i = 0; i < std::min(size, changed.size()); ++i) changed[i] ^= data[i];
  bool same = changed == fixture.blob;
  bool opens =
      bulla::OpenSealedKey(fixture.dek, changed, fixture.header.key_id, *fixture.signer).ok();
  if (opens != same) std::abort();
  return 0;
}
