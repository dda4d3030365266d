#include "gateway/grpc/server.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gateway/frontend/worker.h"
#include "gateway/grpc/health.h"
#include "gateway/grpc/reflection.h"
#include "gateway/grpc/shared.h"
#include "gateway/grpc/sign_stream.h"
#include "gateway/grpc/unary.h"
#include "gateway/grpc/worker.h"

namespace bulla {

class GrpcServer::Impl {
 public:
  Impl(Options options, SignerService& service, Clients& clients, Metrics& metrics,
       const Clock& clock)
      : shared_(std::move(options), service, clients, metrics, clock) {
    const std::string prefix = std::string("/") + kServiceName + "/";
    shared_.methods.AddUnary(prefix + "Create", ServeCreate);
    shared_.methods.AddUnary(prefix + "Sign", ServeSign);
    shared_.methods.AddUnary(prefix + "GetKey", ServeGetKey);
    shared_.methods.AddStream(prefix + "SignStream", GrpcSignStream::Begin);
    AddHealthService(shared_.methods);
    AddReflectionService(shared_.methods);
  }

  absl::StatusOr<std::string> Start() {
    return workers_.Start(shared_.options.listen, shared_.options.threads,
                          [this](std::size_t index) {
                            auto worker = std::make_unique<GrpcWorker>(shared_, index);
                            grpc_workers_.push_back(worker.get());
                            return worker;
                          });
  }

  void SetServing(bool serving) {
    if (shared_.serving.exchange(serving) == serving) return;
    for (GrpcWorker* worker : grpc_workers_) worker->ServingChanged();
  }

  bool Drain(MonotonicTime deadline) {
    SetServing(false);
    if (workers_.Drain(deadline, shared_.clock)) return true;
    Stop();
    return false;
  }

  void Stop() { workers_.Stop(); }

 private:
  GrpcShared shared_;
  FrontendWorkers workers_;
  std::vector<GrpcWorker*> grpc_workers_;  // the same
};

std::size_t GrpcServer::ConnectionsMax(std::size_t descriptors_left) {
  return std::min(limits::kGrpcConnectionsMax, descriptors_left / 2);
}

GrpcServer::GrpcServer(Options options, SignerService& service, Clients& clients, Metrics& metrics,
                       const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(options), service, clients, metrics, clock)) {}

GrpcServer::~GrpcServer() { Stop(); }

absl::StatusOr<std::string> GrpcServer::Start() { return impl_->Start(); }
void GrpcServer::SetServing(bool serving) { impl_->SetServing(serving); }
bool GrpcServer::Drain(MonotonicTime deadline) { return impl_->Drain(deadline); }
void GrpcServer::Stop() { impl_->Stop(); }

}  // namespace bulla
