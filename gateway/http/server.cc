#include "gateway/http/server.h"

#include <algorithm>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/check.h"
#include "gateway/frontend/tcp_listen.h"
#include "gateway/http/shared.h"
#include "gateway/http/worker.h"

namespace bulla {
namespace {

using boost::asio::ip::tcp;

// SO_REUSEPORT would let a second gateway of the same user share the port in silence. A socket
// without it finds out.
absl::Status CheckFree(const tcp::endpoint& endpoint) {
  boost::asio::io_context io;
  return ListenOn(io, endpoint, /*share=*/false).status();
}

}  // namespace

std::size_t HttpServer::ConnectionsMax(std::size_t descriptors_max) {
  const std::size_t others = std::min(limits::kOtherDescriptors, descriptors_max / 2);
  return std::min(limits::kHttpConnectionsMax, descriptors_max - others);
}

HttpServer::HttpServer(Options options, SignerService& service, Clients& clients, Metrics& metrics,
                       const Clock& clock)
    : shared_(std::make_unique<HttpShared>(std::move(options), service, clients, metrics, clock)) {}

HttpServer::~HttpServer() { Stop(); }

absl::StatusOr<std::string> HttpServer::Start() {
  BULLA_CHECK(workers_.empty(), "HttpServer::Start is called once");
  if (shared_->options.threads < 1) return absl::InvalidArgumentError("threads: want 1 or more");
  BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseListenEndpoint(shared_->options.listen));
  BULLA_RETURN_IF_ERROR(CheckFree(endpoint));
  std::vector<std::unique_ptr<HttpWorker>> workers;
  for (int i = 0; i < shared_->options.threads; ++i) {
    workers.push_back(std::make_unique<HttpWorker>(*shared_, workers.size()));
    BULLA_RETURN_IF_ERROR(workers.back()->Listen(endpoint));
    endpoint = workers.front()->endpoint();  // with the port that was chosen
  }
  workers_ = std::move(workers);
  for (const auto& worker : workers_) worker->StartThread();
  return workers_.front()->address();
}

bool HttpServer::Drain(MonotonicTime deadline) {
  for (const auto& worker : workers_) worker->BeginDrain();
  bool all = true;
  for (const auto& worker : workers_) {
    all = worker->WaitUntilEmpty(std::max(Duration(0), deadline - shared_->clock.Now())) && all;
  }
  return all;
}

void HttpServer::Stop() {
  for (auto worker = workers_.rbegin(); worker != workers_.rend(); ++worker) {
    (*worker)->StopBlocking();
  }
}

}  // namespace bulla
