#include "gateway/http/server.h"

#include <algorithm>
#include <utility>

#include "gateway/http/shared.h"
#include "gateway/http/worker.h"

namespace bulla {
std::size_t HttpServer::ConnectionsMax(std::size_t descriptors_max) {
  const std::size_t others = std::min(limits::kOtherDescriptors, descriptors_max / 2);
  return std::min(limits::kHttpConnectionsMax, descriptors_max - others);
}

HttpServer::HttpServer(Options options, SignerService& service, Clients& clients, Metrics& metrics,
                       const Clock& clock)
    : shared_(std::make_unique<HttpShared>(std::move(options), service, clients, metrics, clock)) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<std::string> HttpServer::Start() {
  return workers_.Start(
      shared_->options.listen, shared_->options.threads,
      [this](std::size_t index) { return std::make_unique<HttpWorker>(*shared_, index); });
}

bool HttpServer::Drain(MonotonicTime deadline) { return workers_.Drain(deadline, shared_->clock); }

void HttpServer::Stop() { workers_.Stop(); }

}  // namespace bulla
