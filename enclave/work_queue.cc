#include "enclave/work_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace bulla {
namespace {

// Fewer signatures than this are not worth a second worker's wake-up.
constexpr std::size_t kShareMin = 8;

// How many of `count` signatures the next of `workers` takes.
std::size_t ShareOf(std::size_t count, std::size_t workers) {
  return std::min(count, std::max(kShareMin, (count + workers - 1) / workers));
}

}  // namespace

WorkQueue::WorkQueue(std::size_t max, std::size_t workers)
    : workers_(std::max<std::size_t>(1, workers)), ring_(max) {}

WorkQueue::Entry& WorkQueue::PushEntry() { return ring_[(first_ + size_++) % ring_.size()]; }

bool WorkQueue::TryPush(std::vector<SignItem>& signs, MonotonicTime received,
                        const std::shared_ptr<ReplySink>& sink) {
  std::size_t wake = 0;
  {
    MutexLock lock(mutex_);
    if (closed_ || size_ == ring_.size()) return false;
    if (free_.empty()) {
      frames_.push_back(std::make_unique<Frame>());
      free_.reserve(frames_.size());
      free_.push_back(frames_.back().get());
    }
    Frame* frame = free_.back();
    free_.pop_back();
    std::swap(frame->signs_, signs);
    frame->received_ = received;
    frame->sink_ = sink;
    frame->claimed_ = 0;
    PushEntry() = frame;
    wake = std::min(idle_, std::max<std::size_t>(1, frame->signs_.size() / kShareMin));
  }
  for (; wake > 0; --wake) not_empty_.NotifyOne();
  return true;
}

bool WorkQueue::TryPush(Resumption& tasks) {
  {
    MutexLock lock(mutex_);
    if (closed_ || size_ == ring_.size()) return false;
    PushEntry() = std::move(tasks);
  }
  not_empty_.NotifyOne();
  return true;
}

bool WorkQueue::TryPush(const Create& create) {
  {
    MutexLock lock(mutex_);
    if (closed_ || creates_.size() == ring_.size()) return false;
    creates_.push_back(create);
  }
  not_empty_.NotifyOne();
  return true;
}

std::optional<WorkQueue::Work> WorkQueue::Pop() {
  MutexLock lock(mutex_);
  ++idle_;
  not_empty_.Wait(mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS {
    return closed_ || size_ > 0 || !creates_.empty();
  });
  --idle_;
  if (IsCreatesTurn()) {
    std::optional<Work> create = std::move(creates_.front());
    creates_.pop_front();
    shares_since_create_ = 0;
    return create;
  }
  if (size_ == 0) return std::nullopt;
  ++shares_since_create_;
  Entry& entry = ring_[first_];
  std::optional<Work> work;
  bool taken = true;
  if (Frame** frame = std::get_if<Frame*>(&entry)) {
    work = Claim(**frame);
    taken = (*frame)->claimed_ == (*frame)->signs_.size();
  } else {
    work = std::get<Resumption>(std::exchange(entry, Entry(nullptr)));
  }
  if (taken) {
    first_ = (first_ + 1) % ring_.size();
    --size_;
  }
  return work;
}

WorkQueue::Share WorkQueue::Claim(Frame& frame) {
  const std::size_t signs = frame.signs_.size();
  Share share{.frame = &frame, .begin = frame.claimed_};
  frame.claimed_ += ShareOf(signs - frame.claimed_, workers_);
  share.end = frame.claimed_;
  MutexLock lock(frame.mutex_);
  ++frame.shares_out_;
  frame.all_claimed_ = share.end == signs;
  return share;
}

void WorkQueue::Finish(const Share& share, ReplyBatch& replies) {
  Frame& frame = *share.frame;
  {
    MutexLock lock(frame.mutex_);
    ReplyBatch& all = frame.replies_;
    all.Append(replies);
    if (--frame.shares_out_ > 0 || !frame.all_claimed_) return;
    if (!all.empty()) frame.sink_->Send(all);
    all.clear();
    frame.all_claimed_ = false;
  }
  frame.sink_.reset();
  MutexLock lock(mutex_);
  free_.push_back(&frame);
}

void WorkQueue::Close() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  not_empty_.NotifyAll();
}

std::size_t WorkQueue::size() const {
  MutexLock lock(mutex_);
  return size_ + creates_.size();
}

}  // namespace bulla
