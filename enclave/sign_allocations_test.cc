// In the steady state a frame of signatures costs the enclave's own code no allocation: from its
// bytes, through the queue and a worker, to the bytes of its answer.

#include <gtest/gtest.h>

#include "base/random.h"
#include "enclave/key_operations.h"
#include "enclave/work_queue.h"
#include "tests/fakes/allocation_count.h"
#include "tests/fakes/small_key_cache.h"
#include "wire/enclave.pb.h"

namespace bulla {
namespace {

// As a session sends: what is pending is encoded into one message that is used again.
class EncodingSink final : public ReplySink {
 public:
  void Send(ReplyBatch& replies) override {
    std::swap(pending_, replies);
    EncodeReply(pending_, frame_);
    answered_ += pending_.signs.size();
    pending_.clear();
  }
  std::size_t answered() const { return answered_; }

 private:
  ReplyBatch pending_;
  wire::v1::ReplyFrame frame_;
  std::size_t answered_ = 0;
};

TEST(SignAllocations, AFrameInTheSteadyStateAllocatesNothing) {
  if (!kCountsAllocations) GTEST_SKIP() << "a sanitizer has the allocator";
  const RealClock clock;
  const KeyPolicy policy;
  const std::unique_ptr<DekTable> deks = NewDekTable(policy);
  const std::unique_ptr<KeyCache> cache = NewKeyCache(*deks, clock.Now(), policy);
  ByteArray<Signer::kSeedBytes> seed;
  FillRandom(seed);
  const std::unique_ptr<Signer> signer = *Signer::Create(seed);
  KeyOperations operations(
      *signer, *cache, *deks, [] { return Bytes(32, 3); }, clock);
  const KeyId key_id = KeyId::New({});
  SealUnderNew(*deks, DekId::New({}), {}, clock.Now());
  ASSERT_EQ(operations.Create({.key_id = key_id}).status, ItemStatus::kOk);

  RequestBatch asked;
  for (std::uint32_t i = 0; i < kFrameSignsMax; ++i) {
    asked.signs.push_back({.sequence = i, .key_id = key_id, .budget_us = 60'000'000});
  }
  wire::v1::RequestFrame incoming;
  EncodeRequest(asked, incoming);

  WorkQueue queue(4, 2);
  const auto sink = std::make_shared<EncodingSink>();
  RequestBatch batch;
  ReplyBatch replies;
  std::vector<Opening> openings;
  auto serve_a_frame = [&] {
    ASSERT_TRUE(DecodeRequest(incoming, batch).ok());
    ASSERT_TRUE(queue.TryPush(batch.signs, clock.Now(), sink));
    while (queue.size() > 0) {
      const auto share = std::get<WorkQueue::Share>(*queue.Pop());
      const auto items =
          std::span(share.frame->signs()).subspan(share.begin, share.end - share.begin);
      operations.SignBatch(items, share.frame->received(), sink, replies.signs, openings);
      queue.Finish(share, replies);
    }
  };
  for (int i = 0; i < 5; ++i) serve_a_frame();
  const std::uint64_t before = allocations_of_thread;
  for (int i = 0; i < 20; ++i) serve_a_frame();
  EXPECT_EQ(allocations_of_thread - before, 0u);
  EXPECT_EQ(sink->answered(), 25 * kFrameSignsMax);
}

}  // namespace
}  // namespace bulla
