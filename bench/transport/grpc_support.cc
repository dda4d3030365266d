#include "bench/transport/grpc_support.h"

#include <algorithm>
#include <fmt/format.h>
#include <grpcpp/create_channel.h>

#include <grpc/support/time.h>
#include <grpcpp/security/credentials.h>

#include "base/bytes.h"
#include "base/thread.h"

namespace bulla {
namespace {

constexpr std::int64_t kConnectPatienceSeconds = 5;
constexpr int kReconnectBackoffMs = 100;
// Few, so that a request that falls due meanwhile is not kept waiting by answers.
constexpr std::size_t kCompletionsMax = 32;

gpr_timespec After(Duration time) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(std::max<Duration::rep>(time.count(), 0), GPR_TIMESPAN));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannelBlocking(const Target& target) {
  if (!target.path.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("gRPC has no place for the path {}; want {}", target.path, target.host_field));
  }
  grpc::ChannelArguments arguments;
  // Channels to one address would otherwise share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectBackoffMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectBackoffMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectBackoffMs);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(target.host_field, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(After(std::chrono::seconds(kConnectPatienceSeconds)))) {
    return absl::UnavailableError(
        fmt::format("connect to {}: no gRPC answers there", target.host_field));
  }
  return channel;
}

std::optional<RecoverableSignature> SignatureOf(const v1::SignResponse& response) {
  RecoverableSignature signature;
  if (response.signature().size() != signature.rs.size() || response.recovery_id() > 3) {
    return std::nullopt;
  }
  std::copy(response.signature().begin(), response.signature().end(), signature.rs.begin());
  signature.recovery_id = static_cast<std::uint8_t>(response.recovery_id());
  return signature;
}

Completions::Completions(bool precise) {
  if (precise) thread_ = StartThread("completions", [this] { HandOver(); });
}

Completions::~Completions() {
  queue_.Shutdown();
  if (thread_.joinable()) {
    thread_.join();
    return;
  }
  Completion rest;
  while (queue_.Next(&rest.tag, &rest.ok)) continue;
}

const std::vector<Completion>& Completions::TakeBlocking(MonotonicTime until, const Clock& clock) {
  taken_.clear();
  Duration patience = std::max(Duration::zero(), until - clock.Now());
  if (thread_.joinable()) {
    TakeHandedOver(patience);
  } else {
    TakeFromQueue(patience);
  }
  return taken_;
}

void Completions::TakeFromQueue(Duration patience) {
  Completion next;
  gpr_timespec deadline = After(patience);
  while (taken_.size() < kCompletionsMax &&
         queue_.AsyncNext(&next.tag, &next.ok, deadline) == grpc::CompletionQueue::GOT_EVENT) {
    taken_.push_back(next);
    deadline = gpr_time_0(GPR_CLOCK_MONOTONIC);  // the others only if they are there
  }
}

void Completions::TakeHandedOver(Duration patience) {
  MutexLock lock(mutex_);
  if (handed_over_.empty() && patience > Duration::zero()) {
    waiting_ = true;
    there_.WaitFor(mutex_, patience,
                   [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return !handed_over_.empty(); });
    waiting_ = false;
  }
  taken_.swap(handed_over_);
}

void Completions::HandOver() {
  Completion next;
  while (queue_.Next(&next.tag, &next.ok)) {
    bool wake = false;
    {
      MutexLock lock(mutex_);
      handed_over_.push_back(next);
      wake = waiting_;
    }
    if (wake) there_.NotifyOne();
  }
}

}  // namespace bulla
