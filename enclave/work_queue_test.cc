#include "enclave/work_queue.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <set>
#include <thread>

namespace bulla {
namespace {

// Keeps what it is sent, a frame an element.
class Answers final : public ReplySink {
 public:
  void Send(ReplyBatch& replies) override {
    MutexLock lock(mutex_);
    frames_.push_back(replies);
  }
  std::vector<ReplyBatch> frames() const {
    MutexLock lock(mutex_);
    return frames_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<ReplyBatch> frames_ BULLA_GUARDED_BY(mutex_);
};

std::vector<SignItem> Signs(std::uint32_t count, std::uint32_t first = 0) {
  std::vector<SignItem> signs(count);
  for (std::uint32_t i = 0; i < count; ++i) signs[i].sequence = first + i;
  return signs;
}

class WorkQueueTest : public testing::Test {
 protected:
  bool Push(WorkQueue& queue, std::vector<SignItem> signs) {
    return queue.TryPush(signs, MonotonicTime{}, answers_);
  }
  bool PushCreate(WorkQueue& queue, std::uint32_t sequence) {
    return queue.TryPush({{.sequence = sequence}, answers_});
  }
  // As a worker does, without the work.
  static void Answer(WorkQueue& queue, const WorkQueue::Share& share) {
    ReplyBatch replies;
    for (std::size_t i = share.begin; i < share.end; ++i) {
      replies.signs.push_back({.sequence = share.frame->signs()[i].sequence});
    }
    queue.Finish(share, replies);
    EXPECT_TRUE(replies.empty());
  }
  static WorkQueue::Share PopShare(WorkQueue& queue) {
    return std::get<WorkQueue::Share>(*queue.Pop());
  }

  const std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();
};

TEST_F(WorkQueueTest, WorkersShareAFrameAndItIsAnsweredWhole) {
  WorkQueue queue(4, 2);
  ASSERT_TRUE(Push(queue, Signs(32)));
  WorkQueue::Share first = PopShare(queue);
  WorkQueue::Share second = PopShare(queue);
  EXPECT_EQ(first.end - first.begin, 16u);
  EXPECT_EQ(second.begin, first.end);
  EXPECT_EQ(second.end - second.begin, 8u);
  Answer(queue, second);
  while (queue.size() > 0) Answer(queue, PopShare(queue));
  EXPECT_TRUE(answers_->frames().empty()) << "the first share is not done";
  Answer(queue, first);
  ASSERT_EQ(answers_->frames().size(), 1u);
  EXPECT_EQ(answers_->frames()[0].signs.size(), 32u);
}

TEST_F(WorkQueueTest, AFewSignaturesAreOneShare) {
  WorkQueue queue(4, 8);
  ASSERT_TRUE(Push(queue, Signs(4)));
  EXPECT_EQ(PopShare(queue).end, 4u);
  EXPECT_EQ(queue.size(), 0u);
}

TEST_F(WorkQueueTest, AFullQueueRefusesAndTakesNothing) {
  WorkQueue queue(1, 1);
  ASSERT_TRUE(Push(queue, Signs(1)));
  std::vector<SignItem> refused = Signs(3, 100);
  EXPECT_FALSE(queue.TryPush(refused, MonotonicTime{}, answers_));
  EXPECT_EQ(refused.size(), 3u);
  WorkQueue::Resumption tasks(2);
  EXPECT_FALSE(queue.TryPush(tasks));
  EXPECT_EQ(tasks.size(), 2u);
  Answer(queue, PopShare(queue));
  EXPECT_TRUE(queue.TryPush(tasks));
  EXPECT_EQ(std::get<WorkQueue::Resumption>(*queue.Pop()).size(), 2u);
}

TEST_F(WorkQueueTest, AFrameIsUsedAgainWithItsMemory) {
  WorkQueue queue(4, 1);
  ASSERT_TRUE(Push(queue, Signs(32)));
  WorkQueue::Share share = PopShare(queue);
  const WorkQueue::Frame* frame = share.frame;
  const SignItem* memory = frame->signs().data();
  Answer(queue, share);
  std::vector<SignItem> next = Signs(32);
  ASSERT_TRUE(queue.TryPush(next, MonotonicTime{}, answers_));
  EXPECT_EQ(PopShare(queue).frame, frame);
  EXPECT_EQ(next.data(), memory) << "given back to be overwritten";
}

TEST_F(WorkQueueTest, WhatIsQueuedOutlivesItsClosing) {
  WorkQueue queue(4, 1);
  ASSERT_TRUE(Push(queue, Signs(2)));
  queue.Close();
  EXPECT_FALSE(Push(queue, Signs(2)));
  Answer(queue, PopShare(queue));
  EXPECT_FALSE(queue.Pop().has_value());
}

// Four workers, two who push: every signature is answered once, every frame by one frame.
TEST_F(WorkQueueTest, ManyThreadsLoseNothing) {
  constexpr std::uint32_t kFrames = 500;
  WorkQueue queue(64, 4);
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      while (std::optional<WorkQueue::Work> work = queue.Pop()) {
        Answer(queue, std::get<WorkQueue::Share>(*work));
      }
    });
  }
  std::vector<std::thread> pushers;
  for (std::uint32_t p = 0; p < 2; ++p) {
    pushers.emplace_back([&, p] {
      for (std::uint32_t f = 0; f < kFrames; ++f) {
        std::vector<SignItem> signs = Signs(1 + f % 32, (p * kFrames + f) * 32);
        while (!queue.TryPush(signs, MonotonicTime{}, answers_)) std::this_thread::yield();
      }
    });
  }
  for (std::thread& pusher : pushers) pusher.join();
  queue.Close();
  for (std::thread& worker : workers) worker.join();
  std::set<std::uint32_t> sequences;
  std::size_t count = 0;
  for (const ReplyBatch& frame : answers_->frames()) {
    for (const SignReply& reply : frame.signs) {
      sequences.insert(reply.sequence);
      ++count;
      EXPECT_EQ(reply.sequence / 32, frame.signs[0].sequence / 32) << "two frames in one";
    }
  }
  EXPECT_EQ(answers_->frames().size(), 2u * kFrames);
  EXPECT_EQ(sequences.size(), count);
  EXPECT_EQ(count, 2u * (15 * (32 * 33 / 2) + 20 * 21 / 2));
}

TEST_F(WorkQueueTest, ASignatureStandsBeforeKeysThatWereAskedForFirst) {
  WorkQueue queue(4, 1);
  for (std::uint32_t i = 0; i < 3; ++i) ASSERT_TRUE(PushCreate(queue, i));
  ASSERT_TRUE(Push(queue, Signs(1)));
  EXPECT_EQ(queue.size(), 4u);
  EXPECT_EQ(PopShare(queue).end, 1u);
  for (std::uint32_t i = 0; i < 3; ++i) {  // in the order in which they came
    EXPECT_EQ(std::get<WorkQueue::Create>(*queue.Pop()).item.sequence, i);
  }
  EXPECT_EQ(queue.size(), 0u);
}

TEST_F(WorkQueueTest, HoweverManySignaturesThereAreSomeKeysAreMade) {
  WorkQueue queue(4, 1);
  ASSERT_TRUE(PushCreate(queue, 0));
  std::size_t shares = 0;
  for (;; ++shares) {
    ASSERT_LE(shares, WorkQueue::kSharesBeforeCreate);
    ASSERT_TRUE(Push(queue, Signs(1)));
    const WorkQueue::Work work = *queue.Pop();
    if (std::holds_alternative<WorkQueue::Create>(work)) break;
    Answer(queue, std::get<WorkQueue::Share>(work));
  }
  EXPECT_EQ(shares, WorkQueue::kSharesBeforeCreate);
}

TEST_F(WorkQueueTest, KeysToMakeHaveABoundOfTheirOwn) {
  WorkQueue queue(2, 1);
  EXPECT_TRUE(PushCreate(queue, 0));
  EXPECT_TRUE(PushCreate(queue, 1));
  EXPECT_FALSE(PushCreate(queue, 2));
  EXPECT_TRUE(Push(queue, Signs(1)));
  queue.Close();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.Pop().has_value());
  EXPECT_FALSE(queue.Pop().has_value());
}

}  // namespace
}  // namespace bulla
