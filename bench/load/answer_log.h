#pragma once

// What was asked and what came back, kept until the run is over: checking a signature costs as much
// as several requests, and would be measured with them.

#include <cstdint>
#include <string>
#include <vector>

#include "base/values.h"

namespace bulla {

// A key that requests are made with.
struct BenchKey {
  std::string id;
  PublicKey33 public_key{};
};

struct SignedAnswer {
  std::uint64_t index = 0;  // of the request: tells its digest and its key
  RecoverableSignature signature;
  bool measured = false;
};

// What request `index` asks to be signed: the same in every run with the same seed. Four steps of
// SplitMix64 (Steele, Lea, Flood 2014); digests have to differ, not to be unpredictable.
inline Digest32 DigestOf(std::uint64_t seed, std::uint64_t index) {
  Digest32 digest{};
  for (std::uint64_t word = 0; word < 4; ++word) {
    std::uint64_t z = seed + (4 * index + word + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    StoreBigEndian64(z ^ (z >> 31), digest.data() + 8 * word);
  }
  return digest;
}
inline std::size_t KeyOf(std::uint64_t index, std::size_t keys) { return index % keys; }

// Grows by pieces, so that nothing that is there is copied while a run is measured.
class AnswerLog {
 public:
  static constexpr std::size_t kPiece = 16'384;

  void Add(const SignedAnswer& answer) {
    if (pieces_.empty() || pieces_.back().size() == kPiece) pieces_.emplace_back().reserve(kPiece);
    pieces_.back().push_back(answer);
  }
  const std::vector<std::vector<SignedAnswer>>& pieces() const { return pieces_; }

 private:
  std::vector<std::vector<SignedAnswer>> pieces_;
};

}  // namespace bulla
