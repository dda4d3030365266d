#include "enclave/workers.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "base/thread.h"
#include "crypto/process_hardening.h"

namespace bulla {
namespace {

// Of those who waited for a key, the worker that opened it signs the first itself; the rest go
// through the queue in jobs of this many, for all workers.
constexpr std::size_t kResumedPerJob = 8;

void RefuseAll(KeyOperations& operations, std::span<const SignTask> tasks, ItemStatus status) {
  for (const SignTask& task : tasks) task.Answer(operations.Refusal(task.item, status));
}

}  // namespace

Workers::Workers(Options options, KeyOperations& operations)
    : operations_(operations), queue_(options.queue_max, options.threads) {
  for (std::size_t i = 0; i < options.threads; ++i) {
    threads_.push_back(StartThread(fmt::format("worker-{}", i), [this, i] { Run(i); }));
  }
}

Workers::~Workers() {
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::Submit(RequestBatch& batch, MonotonicTime received,
                     const std::shared_ptr<ReplySink>& sink) {
  for (const Bytes& blob : batch.loads) {
    // A blob that is none leaves its key unknown; the signature that follows it says so.
    if (!operations_.Load(blob)) LogWarn("load_refused", {});
  }
  ReplyBatch refused;
  if (!batch.signs.empty() && !queue_.TryPush(batch.signs, received, sink)) {
    for (const SignItem& item : batch.signs) {
      refused.signs.push_back(operations_.Refusal(item, ItemStatus::kBusy));
    }
  }
  // Each key on its own: no signature is answered with keys that take long, and all workers make
  // them.
  for (const CreateItem& item : batch.creates) {
    if (queue_.TryPush({item, sink})) continue;
    refused.creates.push_back({.sequence = item.sequence, .status = ItemStatus::kBusy});
  }
  if (!refused.empty()) sink->Send(refused);
}

void Workers::Run(std::size_t index) {
  if (!PinThreadToCpu(index)) LogWarn("worker_not_pinned", {{"worker", index}});
  if (!LockThreadStack()) LogWarn("stack_not_locked", {{"worker", index}});
  EnclaveCounters& counters = operations_.counters();
  std::vector<Opening> openings;
  ReplyBatch replies;
  while (std::optional<WorkQueue::Work> work = queue_.Pop()) {
    const MonotonicTime began = operations_.clock().Now();
    counters.Increment("jobs");
    if (const auto* share = std::get_if<WorkQueue::Share>(&*work)) {
      RunShare(*share, replies, openings);
    } else if (const auto* tasks = std::get_if<WorkQueue::Resumption>(&*work)) {
      Resume(*tasks, openings);
    } else {
      MakeKey(std::get<WorkQueue::Create>(*work), replies);
    }
    // An opening may begin another: see KeyOperations::Resume.
    for (std::size_t i = 0; i < openings.size(); ++i) Open(Opening(openings[i]), openings);
    openings.clear();
    const Duration busy = operations_.clock().Now() - began;
    counters.Increment("worker_busy_us",
                       static_cast<std::uint64_t>(busy / std::chrono::microseconds(1)));
  }
}

void Workers::RunShare(const WorkQueue::Share& share, ReplyBatch& replies,
                       std::vector<Opening>& openings) {
  const WorkQueue::Frame& frame = *share.frame;
  const auto items = std::span(frame.signs()).subspan(share.begin, share.end - share.begin);
  const auto cpu_before = ThreadCpuTime();
  operations_.SignBatch(items, frame.received(), frame.sink(), replies.signs, openings);
  const std::chrono::duration<double, std::micro> cpu = ThreadCpuTime() - cpu_before;
  operations_.counters()
      .histogram("sign_cpu_us")
      .Record(cpu.count() / static_cast<double>(items.size()), items.size());
  queue_.Finish(share, replies);
}

void Workers::MakeKey(const WorkQueue::Create& create, ReplyBatch& replies) {
  replies.creates.push_back(operations_.Create(create.item));
  create.sink->Send(replies);
  replies.clear();
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
  if (released.status != ItemStatus::kOk) return RefuseAll(operations_, tasks, released.status);
  auto next = tasks.begin() + static_cast<std::ptrdiff_t>(std::min(tasks.size(), kResumedPerJob));
  std::span<const SignTask> first(tasks.begin(), next);
  while (next != tasks.end()) {
    const auto end = next + std::min<std::ptrdiff_t>(kResumedPerJob, tasks.end() - next);
    WorkQueue::Resumption share(std::make_move_iterator(next), std::make_move_iterator(end));
    if (!queue_.TryPush(share)) RefuseAll(operations_, share, ItemStatus::kBusy);
    next = end;
  }
  Resume(first, openings);
}

}  // namespace bulla
