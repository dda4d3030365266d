#include "enclave/workers.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/log.h"
#include "base/thread.h"

namespace bulla {
namespace {

// Fewer signatures than this are not worth a second thread's wake-up (5 us against 60 us a
// signature with its verification).
constexpr std::size_t kSignsPerJobMin = 2;

// The replies to a job that found no room.
ReplyBatch Refusals(const RequestBatch& batch) {
  ReplyBatch replies;
  for (const SignItem& item : batch.signs) {
    replies.signs.push_back({.sequence = item.sequence, .status = ItemStatus::kBusy});
  }
  for (const CreateItem& item : batch.creates) {
    replies.creates.push_back({.sequence = item.sequence, .status = ItemStatus::kBusy});
  }
  return replies;
}

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
  for (Bytes& blob : batch.loads) {
    // A blob that is none leaves its key unknown; the signature that follows it says so.
    if (!operations_.Load(std::move(blob))) LogWarn("load_refused", {});
  }
  batch.loads.clear();

  std::size_t shares = std::clamp<std::size_t>(batch.signs.size() / kSignsPerJobMin, 1,
                                               std::max<std::size_t>(queue_.idle(), 1));
  std::size_t share = (batch.signs.size() + shares - 1) / shares;
  for (std::size_t begin = share; share > 0 && begin < batch.signs.size(); begin += share) {
    std::size_t end = std::min(begin + share, batch.signs.size());
    Job job{{}, received, sink};
    job.batch.signs.assign(batch.signs.begin() + static_cast<std::ptrdiff_t>(begin),
                           batch.signs.begin() + static_cast<std::ptrdiff_t>(end));
    Enqueue(std::move(job));
  }
  batch.signs.resize(std::min(share, batch.signs.size()));
  if (!batch.empty()) Enqueue({std::move(batch), received, std::move(sink)});
}

void Workers::Enqueue(Job job) {
  // A refused item is left as it was: NOLINTNEXTLINE(bugprone-use-after-move)
  if (!queue_.TryPush(std::move(job))) job.sink->Send(Refusals(job.batch));
}

void Workers::Run(std::size_t index) {
  if (!PinThreadToCpu(index)) LogWarn("worker_not_pinned", {{"worker", index}});
  while (std::optional<Job> job = queue_.Pop()) {
    ReplyBatch replies;
    replies.signs.reserve(job->batch.signs.size());
    operations_.SignBatch(job->batch.signs, job->received, replies.signs);
    for (const CreateItem& item : job->batch.creates) {
      replies.creates.push_back(operations_.Create(item));
    }
    job->sink->Send(std::move(replies));
  }
}

}  // namespace bulla
