// What signing and deriving leave behind on the stack: nothing that depends on the key. And how
// deep they go, which is what has to be locked in memory.

#include "crypto/stack_wipe.h"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <memory>

#include <pthread.h>

#include "base/random.h"
#include "crypto/process_hardening.h"
#include "crypto/signer.h"

namespace bulla {
namespace {

constexpr std::size_t kStackBytes = std::size_t{1} << 20;
constexpr std::uint8_t kPaint = 0xa5;

// Always the same memory, so that two runs of one call have the same addresses in them.
struct alignas(4096) Stack {
  std::uint8_t bytes[kStackBytes];
};

// Runs a call on a stack that was painted before: what is not paint afterwards, the call has left.
class PaintedRun {
 public:
  PaintedRun(Stack& stack, const std::function<void()>& call) : stack_(stack), call_(call) {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    EXPECT_EQ(::pthread_attr_setstack(&attributes, stack_.bytes, kStackBytes), 0);
    pthread_t thread;
    EXPECT_EQ(::pthread_create(&thread, &attributes, &PaintedRun::Run, this), 0);
    ::pthread_join(thread, nullptr);
    ::pthread_attr_destroy(&attributes);
  }

  // From the end of the stack up to the frame that made the call.
  const Bytes& left() const { return left_; }
  std::size_t depth() const {
    const auto deepest = std::ranges::find_if(left_, [](auto byte) { return byte != kPaint; });
    return static_cast<std::size_t>(left_.end() - deepest);
  }

 private:
  static void* Run(void* self) {
    static_cast<PaintedRun*>(self)->PaintAndCall();
    return nullptr;
  }
  [[gnu::noinline]] void PaintAndCall() {
    call_();  // OpenSSL and others make what they keep for a thread
    const auto* const here = static_cast<const std::uint8_t*>(__builtin_frame_address(0));
    // What is called below has its frames from here on, a little of which the painting needs.
    const std::size_t below = static_cast<std::size_t>(here - stack_.bytes) - 512;
    left_.resize(below);  // now: its own frames are not of interest
    auto* const begin = static_cast<volatile std::uint8_t*>(stack_.bytes);
    for (std::size_t i = 0; i < below; ++i) begin[i] = kPaint;
    call_();
    for (std::size_t i = 0; i < below; ++i) left_[i] = begin[i];
  }

  Stack& stack_;
  const std::function<void()>& call_;
  Bytes left_;
};

// Calls with a key of their own, which are given to PaintedRun one after the other.
class StackWipe : public testing::TestWithParam<SignatureCheck> {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "sanitizers keep frames where they like";
#endif
    ByteArray<Signer::kSeedBytes> seed;
    FillRandom(seed);
    signer_ = std::move(Signer::Create(seed, GetParam())).value();
  }

  std::unique_ptr<Signer> signer_;
  std::unique_ptr<Stack> stack_ = std::make_unique<Stack>();
};

// Where two runs over different keys differ: what they have left tells about the keys.
std::size_t Differences(const Bytes& a, const Bytes& b) {
  EXPECT_EQ(a.size(), b.size());
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1 : 0;
  return count;
}

TEST_P(StackWipe, SigningLeavesNothingOfTheKey) {
  for (std::size_t count : {1u, 2u, 16u}) {
    Bytes first;
    std::vector<SigningJob> jobs(count);  // where they are is the same in each run, too
    Secret<32> key;
    PublicPoint point;
    const Digest32 digest{7};
    const std::function<void()> sign = [&] {
      for (SigningJob& job : jobs) job = {.key = &key, .point = &point, .digest = &digest};
      signer_->SignBatch(jobs);
    };
    for (int run = 0; run < 8; ++run) {
      FillRandom(key.Expose());
      point = *signer_->DerivePublic(key);
      const PaintedRun painted(*stack_, sign);
      EXPECT_TRUE(jobs.back().is_signed);
      // With room for what calls the signer, and for what else a worker does.
      EXPECT_LT(painted.depth() + 32 * 1024, kLockedStackBytes);
      RecordProperty("depth_" + std::to_string(count), static_cast<int>(painted.depth()));
      if (run == 0) {
        first = painted.left();
      } else {
        EXPECT_EQ(Differences(first, painted.left()), 0u) << count << " at once";
      }
    }
  }
}

TEST_P(StackWipe, DerivingLeavesNothingOfTheKey) {
  Bytes first;
  Secret<32> key;
  PublicPoint point;
  const std::function<void()> derive = [&] { point = *signer_->DerivePublic(key); };
  for (int run = 0; run < 8; ++run) {
    FillRandom(key.Expose());
    const PaintedRun painted(*stack_, derive);
    if (run == 0) {
      first = painted.left();
    } else {
      EXPECT_EQ(Differences(first, painted.left()), 0u);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EachCheck, StackWipe,
                         testing::Values(SignatureCheck::kRecompute, SignatureCheck::kVerify,
                                         SignatureCheck::kNone));

}  // namespace
}  // namespace bulla
