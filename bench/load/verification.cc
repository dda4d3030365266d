#include "bench/load/verification.h"

#include <atomic>
#include <cstring>
#include <fmt/format.h>
#include <thread>

#include "base/thread.h"
#include "bench/load/progress.h"
#include "crypto/verifier.h"

namespace bulla {
namespace {

// (n - 1) / 2, the highest s that is in the lower half. n is the group's order (SEC 2, 2.4.1).
constexpr ByteArray<32> kHighestLowS{
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0};

// The key that a signature leads to is the one it verifies under (SEC 1, 4.1.6), so that one
// computation shows both.
bool IsRight(const SignedAnswer& answer, const PublicKey33& public_key, const Digest32& digest) {
  if (std::memcmp(answer.signature.rs.data() + 32, kHighestLowS.data(), 32) > 0) return false;
  absl::StatusOr<PublicKey33> recovered = RecoverPublicKey(digest, answer.signature);
  return recovered.ok() && *recovered == public_key;
}

// One of the threads, with its own figures.
class Checker {
 public:
  // Checks the next piece that nobody has taken; false: there is none. `next` and `checked` are
  // shared with the other threads.
  bool RunPiece(const AnswerLog& answers, const std::vector<BenchKey>& keys, std::uint64_t seed,
                std::atomic<std::size_t>& next, std::atomic<std::uint64_t>& checked) {
    std::size_t piece = next.fetch_add(1, std::memory_order_relaxed);
    if (piece >= answers.pieces().size()) return false;
    for (const SignedAnswer& answer : answers.pieces()[piece]) {
      Check(answer, keys[KeyOf(answer.index, keys.size())], DigestOf(seed, answer.index));
    }
    checked.fetch_add(answers.pieces()[piece].size(), std::memory_order_relaxed);
    return true;
  }

  void AddTo(Verification& sum) const {
    sum.right += found_.right;
    sum.warm_up_right += found_.warm_up_right;
    sum.wrong += found_.wrong;
    if (sum.first_wrong.empty()) sum.first_wrong = found_.first_wrong;
  }

 private:
  void Check(const SignedAnswer& answer, const BenchKey& key, const Digest32& digest) {
    if (IsRight(answer, key.public_key, digest)) {
      ++(answer.measured ? found_.right : found_.warm_up_right);
      return;
    }
    if (found_.wrong++ == 0) {
      found_.first_wrong =
          fmt::format("request {}: key {}, public key {}, digest {}, signature {}, recovery id {}",
                      answer.index, key.id, HexEncode0x(key.public_key), HexEncode0x(digest),
                      HexEncode0x(answer.signature.rs), answer.signature.recovery_id);
    }
  }

  Verification found_;
};

std::uint64_t CountOf(const AnswerLog& answers) {
  std::uint64_t count = 0;
  for (const auto& piece : answers.pieces()) count += piece.size();
  return count;
}

}  // namespace

Verification VerifyBlocking(const AnswerLog& answers, const std::vector<BenchKey>& keys,
                            std::uint64_t seed, const Clock& clock, std::ostream& err) {
  Progress progress("checking signatures", CountOf(answers), clock, err);
  std::atomic<std::size_t> next{0};
  std::atomic<std::uint64_t> checked{0};
  std::vector<Checker> checkers(UsableCpus());
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < checkers.size(); ++i) {
    threads.push_back(StartThread(fmt::format("check-{}", i), [&, checker = &checkers[i]] {
      while (checker->RunPiece(answers, keys, seed, next, checked)) continue;
    }));
  }
  // The caller's thread works too, and says how far all are after each of its pieces.
  while (checkers[0].RunPiece(answers, keys, seed, next, checked)) {
    progress.Show(checked.load(std::memory_order_relaxed));
  }
  for (std::thread& thread : threads) thread.join();
  progress.Show(checked.load(std::memory_order_relaxed));
  Verification sum;
  for (const Checker& checker : checkers) checker.AddTo(sum);
  return sum;
}

}  // namespace bulla
