#include "gateway/routing/rebalancer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/thread.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;

// Keys asked of the store at a time: signatures ask it too.
constexpr std::size_t kFetchedAtOnce = 64;
// An enclave whose streams have no room for a blob gets it a little later.
constexpr milliseconds kNoRoomPause{1};
constexpr int kTriesMax = 1000;

// What the store has found so far.
struct Fetched {
  Mutex mutex;
  CondVar all_there;
  std::size_t awaited BULLA_GUARDED_BY(mutex) = 0;
  std::vector<std::pair<std::size_t, Bytes>> blobs BULLA_GUARDED_BY(mutex);
};

}  // namespace

Rebalancer::Rebalancer(Fleet& fleet, KeyStore& store, Metrics& metrics, milliseconds interval)
    : fleet_(fleet),
      store_(store),
      interval_(interval),
      warmed_up_(metrics.AddCounter(
          "bulla_gateway_keys_loaded_ahead_total",
          "Keys in use that were loaded in an enclave before they were routed there")) {}

Rebalancer::~Rebalancer() { Stop(); }

void Rebalancer::Start() {
  thread_ = StartThread("migration", [this] { Run(); });
}

void Rebalancer::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Rebalancer::Run() {
  std::optional<Fleet::Step> step;
  while (WaitFor(interval_)) {
    // What was loaded for it has arrived meanwhile.
    if (step) fleet_.Make(*step);
    step = fleet_.NextStep();
    if (step) WarmUpBlocking(*step);
  }
}

void Rebalancer::WarmUpBlocking(const Fleet::Step& step) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < step.from->members.size() && !stopping(); ++i) {
    if (!step.from->members[i]->in_service()) continue;
    const std::vector<Move> moves = MovesFromBlocking(step, i);
    for (std::size_t at = 0; at < moves.size() && !stopping(); at += kFetchedAtOnce) {
      MoveBlocking(&moves[at], std::min(kFetchedAtOnce, moves.size() - at));
    }
    count += moves.size();
  }
  LogInfo("keys_move", {{"loaded_ahead", count}});
}

std::vector<Rebalancer::Move> Rebalancer::MovesFromBlocking(const Fleet::Step& step,
                                                            std::size_t member) {
  std::vector<Move> moves;
  EnclaveLink& link = *step.from->members[member]->link();
  std::uint32_t parts = 1;
  for (std::uint32_t part = 0; part < parts && !stopping(); ++part) {
    absl::StatusOr<EnclaveLink::KeysInUse> in_use = link.KeysInUseBlocking(part);
    if (!in_use.ok()) {
      LogWarn("keys_in_use_unknown",
              {{"enclave", link.name()}, {"reason", in_use.status().ToString()}});
      break;
    }
    parts = in_use->parts;
    for (const KeyId& key_id : in_use->keys) {
      const std::optional<std::size_t> to = step.to->ring.OwnerOf(key_id);
      // What is in use here and belongs elsewhere already was moved before.
      if (!to || *to == member || step.from->ring.OwnerOf(key_id) != member) continue;
      const Fleet::Member& taker = *step.to->members[*to];
      if (taker.in_service()) moves.push_back({key_id, taker.link()});
    }
  }
  return moves;
}

void Rebalancer::MoveBlocking(const Move* moves, std::size_t count) {
  auto fetched = std::make_shared<Fetched>();
  {
    MutexLock lock(fetched->mutex);
    fetched->awaited = count;
  }
  for (std::size_t i = 0; i < count; ++i) {
    store_.FindKey(moves[i].key_id, [fetched, i](absl::StatusOr<std::optional<KeyRow>> row) {
      MutexLock lock(fetched->mutex);
      if (row.ok() && row->has_value() && (*row)->enabled) {
        fetched->blobs.emplace_back(i, std::move((*row)->blob));
      }
      if (--fetched->awaited == 0) fetched->all_there.NotifyAll();
    });
  }
  std::vector<std::pair<std::size_t, Bytes>> blobs;
  {
    MutexLock lock(fetched->mutex);
    fetched->all_there.Wait(
        fetched->mutex, [&]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return fetched->awaited == 0; });
    blobs.swap(fetched->blobs);
  }
  for (const auto& [i, blob] : blobs) SendBlocking(*moves[i].to, blob);
}

void Rebalancer::SendBlocking(EnclaveLink& to, const Bytes& blob) {
  for (int tries = 0; tries < kTriesMax && to.connected(); ++tries) {
    if (to.pool().Load(blob)) return warmed_up_.Increment();
    if (!WaitFor(kNoRoomPause)) return;
  }
}

bool Rebalancer::WaitFor(milliseconds time) {
  MutexLock lock(mutex_);
  changed_.WaitFor(mutex_, time,
                   [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return stopping_.load(); });
  return !stopping_;
}

}  // namespace bulla
