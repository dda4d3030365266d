#pragma once

// A library that signs, as a loop without a network calls it.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/values.h"

namespace peers {

// As the library gives it: r || s, or DER.
struct RawSignature {
  bulla::ByteArray<80> bytes{};
  std::size_t length = 0;
  bool der = false;
};

// The same for each library.
struct RawKey {
  bulla::ByteArray<32> secret{};
  bulla::ByteArray<65> point{};  // uncompressed, as SEC 1 has it
};

// What one thread signs with. Confined to it. Keys are told by their place in the list.
class RawSession {
 public:
  virtual ~RawSession() = default;
  virtual bool Sign(std::size_t key, const bulla::Digest32& digest, RawSignature& out) = 0;
  virtual bool Verify(std::size_t key, const bulla::Digest32& digest,
                      const RawSignature& signature) = 0;
};

class RawEngine {
 public:
  virtual ~RawEngine() = default;
  virtual std::string Version() const = 0;
  // Requires: the engine outlives its sessions.
  virtual std::unique_ptr<RawSession> OpenSession() = 0;
};

// Each throws std::runtime_error where the library is not there or does not do this curve. The keys
// are imported.
std::unique_ptr<RawEngine> MakeStockEngine(std::span<const RawKey> keys);
std::unique_ptr<RawEngine> MakeOpenSslEngine(std::span<const RawKey> keys);
// `on_token`: keys are objects of the token, as an HSM's are, in files; else of the session, in
// memory.
std::unique_ptr<RawEngine> MakeSoftHsmEngine(std::span<const RawKey> keys, bool on_token);

// Keys from a seed, and the judge of all signatures: Debian's libsecp256k1. A high s is as good as
// the low one here; the engines that give it are known.
std::vector<RawKey> MakeRawKeys(std::uint64_t seed, std::size_t count);
bool IsRightRawSignature(const RawKey& key, const bulla::Digest32& digest,
                         const RawSignature& signature);

}  // namespace peers
