#include "enclave/workers.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "base/thread.h"
#include "crypto/process_hardening.h"

namespace bulla {
namespace {

// Fewer signatures than this are not worth a second thread's wake-up (5 us against 60 us a
// signature with its verification).
constexpr std::size_t kSignsPerJobMin = 2;

// Of those who waited for a key, the worker that opened it signs the first itself; the rest go
// through the queue in jobs of this many, for all workers.
constexpr std::size_t kResumedPerJob = 8;

}  // namespace

Workers::Workers(Options options, KeyOperations& operations)
    : operations_(operations), queue_(options.queue_max) {
  for (std::size_t i = 0; i < options.threads; ++i) {
    threads_.push_back(StartThread(fmt::format("worker-{}", i), [this, i] { Run(i); }));
  }
}

Workers::~Workers() {
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::Submit(RequestBatch batch, MonotonicTime received, std::shared_ptr<ReplySink> sink) {
  for (const Bytes& blob : batch.loads) {
    // A blob that is none leaves its key unknown; the signature that follows it says so.
    if (!operations_.Load(blob)) LogWarn("load_refused", {});
  }
  batch.loads.clear();

  std::size_t shares = std::clamp<std::size_t>(batch.signs.size() / kSignsPerJobMin, 1,
                                               std::max<std::size_t>(queue_.idle(), 1));
  std::size_t share = (batch.signs.size() + shares - 1) / shares;
  for (std::size_t begin = share; share > 0 && begin < batch.signs.size(); begin += share) {
    std::size_t end = std::min(begin + share, batch.signs.size());
    FrameJob job{{}, received, sink};
    job.batch.signs.assign(batch.signs.begin() + static_cast<std::ptrdiff_t>(begin),
                           batch.signs.begin() + static_cast<std::ptrdiff_t>(end));
    Enqueue(std::move(job));
  }
  batch.signs.resize(std::min(share, batch.signs.size()));
  if (!batch.empty()) Enqueue(FrameJob{std::move(batch), received, std::move(sink)});
}

void Workers::Enqueue(Job job) {
  // A refused item is left as it was: NOLINTNEXTLINE(bugprone-use-after-move)
  if (!queue_.TryPush(std::move(job))) Refuse(job);
}

void Workers::Refuse(const Job& job) {
  if (const auto* tasks = std::get_if<ResumeJob>(&job)) {
    for (const SignTask& task : *tasks) {
      task.Answer(operations_.Refusal(task.item, ItemStatus::kBusy));
    }
    return;
  }
  const auto& frame = std::get<FrameJob>(job);
  ReplyBatch replies;
  for (const SignItem& item : frame.batch.signs) {
    replies.signs.push_back(operations_.Refusal(item, ItemStatus::kBusy));
  }
  for (const CreateItem& item : frame.batch.creates) {
    replies.creates.push_back({.sequence = item.sequence, .status = ItemStatus::kBusy});
  }
  frame.sink->Send(std::move(replies));
}

void Workers::Run(std::size_t index) {
  if (!PinThreadToCpu(index)) LogWarn("worker_not_pinned", {{"worker", index}});
  if (!LockThreadStack()) LogWarn("stack_not_locked", {{"worker", index}});
  std::vector<Opening> openings;
  while (std::optional<Job> job = queue_.Pop()) {
    if (const auto* tasks = std::get_if<ResumeJob>(&*job)) {
      Resume(*tasks, openings);
    } else {
      RunFrame(std::get<FrameJob>(*job), openings);
    }
    // An opening may begin another: see KeyOperations::Resume.
    for (std::size_t i = 0; i < openings.size(); ++i) Open(Opening(openings[i]), openings);
    openings.clear();
  }
}

void Workers::RunFrame(const FrameJob& job, std::vector<Opening>& openings) {
  ReplyBatch replies;
  replies.signs.reserve(job.batch.signs.size());
  operations_.SignBatch(job.batch.signs, job.received, job.sink, replies.signs, openings);
  for (const CreateItem& item : job.batch.creates) {
    replies.creates.push_back(operations_.Create(item));
  }
  if (!replies.empty()) job.sink->Send(std::move(replies));
}

void Workers::Resume(std::span<const SignTask> tasks, std::vector<Opening>& openings) {
  for (const SignTask& task : tasks) {
    std::optional<SignReply> reply = operations_.Resume(task, openings);
    if (reply) task.Answer(*reply);
  }
}

void Workers::Open(const Opening& opening, std::vector<Opening>& openings) {
  KeyCache::Released released = operations_.Open(opening);
  std::vector<SignTask>& tasks = released.tasks;
  if (released.status != ItemStatus::kOk) {
    for (const SignTask& task : tasks) {
      task.Answer(operations_.Refusal(task.item, released.status));
    }
    return;
  }
  auto next = tasks.begin() + static_cast<std::ptrdiff_t>(std::min(tasks.size(), kResumedPerJob));
  std::span<const SignTask> first(tasks.begin(), next);
  while (next != tasks.end()) {
    const auto end = next + std::min<std::ptrdiff_t>(kResumedPerJob, tasks.end() - next);
    Enqueue(ResumeJob(std::make_move_iterator(next), std::make_move_iterator(end)));
    next = end;
  }
  Resume(first, openings);
}

}  // namespace bulla
