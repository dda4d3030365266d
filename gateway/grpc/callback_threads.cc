#include "gateway/grpc/callback_threads.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <grpcpp/create_channel.h>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <unistd.h>

#include <absl/synchronization/mutex.h>
#include <grpc/support/log.h>
#include <grpcpp/security/credentials.h>

#include "base/await.h"
#include "base/log.h"
#include "bulla/v1/signer.grpc.pb.h"

namespace bulla {
namespace {

constexpr unsigned kCpusPerThread = 8;
constexpr std::size_t kThreadsMin = 2;  // that gRPC starts

// A call with a callback on a channel that leads nowhere, cancelled before it begins.
struct CancelledCall {
  std::unique_ptr<v1::Signer::Stub> stub;
  grpc::ClientContext context;
  v1::GetKeyRequest request;
  v1::GetKeyResponse reply;

  CancelledCall(const std::shared_ptr<grpc::Channel>& channel,
                std::function<void(grpc::Status)> done)
      : stub(v1::Signer::NewStub(channel)) {
    context.TryCancel();
    stub->async()->GetKey(&context, &request, &reply, std::move(done));
  }
};

// One such call is what makes a channel hold the threads.
struct Holder {
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateChannel("unix:/dev/null", grpc::InsecureChannelCredentials());
  CancelledCall call{channel, [](const grpc::Status&) {}};
};

Holder& TheHolder() {
  static Holder* const kHolder = new Holder;  // never freed, on purpose
  return *kHolder;
}

// The threads of this process that run callbacks, by the name that gRPC gives them.
std::size_t CallbackThreads() {
  std::size_t count = 0;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name == "nexting_thread") ++count;
  }
  return count;
}

void LogForGrpc(gpr_log_func_args* line) {
  LogLevel level = LogLevel::kDebug;
  if (line->severity == GPR_LOG_SEVERITY_INFO) level = LogLevel::kInfo;
  if (line->severity == GPR_LOG_SEVERITY_ERROR) level = LogLevel::kError;
  Log(level, "grpc",
      {{"file", std::filesystem::path(line->file).filename().string()},
       {"line", line->line},
       {"message", line->message}});
}

}  // namespace

void KeepGrpcCallbackThreads() { TheHolder(); }

void TuneGrpcForTraffic() {
  gpr_set_log_function(LogForGrpc);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  Holder& holder = TheHolder();
  // They were started with the first call above, and name themselves.
  std::size_t threads = 0;
  AwaitBlocking(std::chrono::seconds(1), [&] {
    threads = CallbackThreads();
    return threads >= kThreadsMin;
  });
  const std::size_t kept = std::max(1u, std::thread::hardware_concurrency() / kCpusPerThread);
  for (std::size_t parked = 0; parked + kept < threads; ++parked) {
    // Never freed, and its callback never returns.
    new CancelledCall(holder.channel, [](const grpc::Status&) {
      for (;;) ::pause();
    });
  }
}

}  // namespace bulla
