#include "gateway/grpc/health.h"

#include <fmt/format.h>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gateway/grpc/connection.h"
#include "gateway/grpc/server.h"
#include "gateway/grpc/worker.h"
#include "grpc/health/v1/health.pb.h"

namespace bulla {
namespace {

namespace health = grpc::health::v1;
using Code = absl::StatusCode;
using http2::GrpcRequest;

using Status = health::HealthCheckResponse::ServingStatus;

http2::GrpcStatus Malformed() { return {Code::kInvalidArgument, "no HealthCheckRequest", ""}; }

// Nothing when `service` is none of ours.
std::optional<Status> StatusOf(const GrpcShared& shared, const std::string& service) {
  if (!service.empty() && service != GrpcServer::kServiceName) return std::nullopt;
  return shared.serving ? health::HealthCheckResponse::SERVING
                        : health::HealthCheckResponse::NOT_SERVING;
}

bool Parse(ByteSpan message, health::HealthCheckRequest& request) {
  return request.ParseFromArray(message.data(), static_cast<int>(message.size()));
}

void Check(http2::GrpcServer& server, const GrpcRequest& request, ByteSpan message) {
  health::HealthCheckRequest asked;
  if (!Parse(message, asked)) return server.Finish(request.stream, Malformed());
  GrpcConnection& connection = GrpcConnection::From(server);
  const std::optional<Status> status = StatusOf(connection.worker().shared(), asked.service());
  if (!status) {
    return server.Finish(
        request.stream,
        {Code::kNotFound, fmt::format("there is no service {}", asked.service().substr(0, 128)),
         ""});
  }
  health::HealthCheckResponse response;
  response.set_status(*status);
  connection.Answer(request.stream, response);
}

// A caller who is told of every change until he ends the call. Confined to its connection's thread.
class Watch final : public http2::GrpcHandler, public GrpcStandingCall {
 public:
  Watch(GrpcConnection& connection, http2::StreamId stream)
      : connection_(connection), stream_(stream) {
    connection_.worker().Add(*this);
  }
  ~Watch() override { connection_.worker().Remove(static_cast<GrpcStandingCall&>(*this)); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // GrpcHandler
  void OnMessage(ByteSpan message) override {
    health::HealthCheckRequest asked;
    if (service_ || !Parse(message, asked)) return connection_.Finish(stream_, Malformed());
    service_ = asked.service();
    Tell();
  }
  void OnHalfClose() override {
    if (!service_) connection_.Finish(stream_, Malformed());
  }
  // One answer on its way at a time: of changes that a caller does not take, he is told the last.
  void OnWritten() override {
    writing_ = false;
    Tell();
  }

  // GrpcStandingCall
  void OnServingChanged() override { Tell(); }
  void OnDrain() override {
    connection_.Finish(stream_, {Code::kUnavailable, "this gateway is shutting down", ""});
  }

 private:
  void Tell() {
    if (!service_ || writing_) return;
    const Status now = StatusOf(connection_.worker().shared(), *service_)
                           .value_or(health::HealthCheckResponse::SERVICE_UNKNOWN);
    if (now == told_) return;
    told_ = now;
    writing_ = true;
    health::HealthCheckResponse response;
    response.set_status(now);
    connection_.Send(stream_, response);
  }

  GrpcConnection& connection_;
  const http2::StreamId stream_;
  std::optional<std::string> service_;  // once it has been asked
  std::optional<Status> told_;
  bool writing_ = false;
};

std::unique_ptr<http2::GrpcHandler> BeginWatch(http2::GrpcServer& server,
                                               const GrpcRequest& request) {
  return std::make_unique<Watch>(GrpcConnection::From(server), request.stream);
}

}  // namespace

void AddHealthService(http2::GrpcMethods& methods) {
  methods.AddUnary("/grpc.health.v1.Health/Check", Check);
  methods.AddStream("/grpc.health.v1.Health/Watch", BeginWatch);
}

}  // namespace bulla
