#include "gateway/grpc/connection.h"

#include <utility>

#include "gateway/frontend/limits.h"
#include "gateway/grpc/worker.h"

namespace bulla {
namespace {

constexpr http2::GrpcServer::Options kOptions{.message_bytes_max = limits::kRequestBodyBytesMax,
                                              .partial_bytes_max = limits::kGrpcPartialBytesMax,
                                              .request_timeout = limits::kHttpBodyTimeout};

}  // namespace

GrpcConnection::GrpcConnection(GrpcWorker& worker, const IpAddress& address)
    : http2::GrpcServer(kOptions, worker.shared().methods),
      worker_(worker),
      address_(address),
      client_(worker.shared().clients, ClientOf(address)),
      place_(*this) {
  worker_.places().Enter(place_, ClientOf(address));
}

GrpcConnection::~GrpcConnection() { LeavePlace(); }

void GrpcConnection::LeavePlace() {
  worker_.places().Leave(place_);
  if (std::exchange(has_place_, false)) worker_.shared().connections.fetch_sub(1);
}

void GrpcConnection::CallOut() {
  if (calls_out_++ == 0) worker_.places().Works(place_);
}

void GrpcConnection::CallBack() {
  if (--calls_out_ == 0) worker_.places().Waits(place_);
  RemoveIfDone();
}

void GrpcConnection::Send(http2::StreamId call, const google::protobuf::Message& message) {
  std::string& bytes = worker_.scratch();
  message.SerializeToString(&bytes);
  Send(call, AsBytes(bytes));
}

void GrpcConnection::Answer(http2::StreamId call, const google::protobuf::Message& message) {
  Send(call, message);
  Finish(call, http2::GrpcStatus{});
}

void GrpcConnection::Finish(http2::StreamId call, FrontendMethod method, const Error& error) {
  worker_.shared().metrics.Count(method, error.code);
  Finish(call, worker_.shared().StatusOf(error));
}

void GrpcConnection::OnOver(const absl::Status& reason) {
  http2::GrpcServer::OnOver(reason);
  over_ = true;
  LeavePlace();
  RemoveIfDone();
}

void GrpcConnection::RemoveIfDone() {
  if (over_ && calls_out_ == 0) worker_.Remove(*this);
}

GrpcCallHead::GrpcCallHead(GrpcConnection& connection, const http2::GrpcRequest& request)
    : connection_(connection),
      stream_(request.stream),
      deadline_(request.deadline),
      request_id_(connection.worker().ids().Take(
          connection.worker().shared().RequestIdOf(request.headers))),
      behind_proxy_(
          connection.worker().shared().ClientBehindProxy(request.headers, connection.address())),
      context_{.client = behind_proxy_ ? &*behind_proxy_ : &connection.client(),
               .request_id = request_id_},
      error_(connection.worker().shared().CheckHeaders(request.headers)) {
  connection.AddMetadata(stream_, kGrpcRequestIdName, request_id_);
}

}  // namespace bulla
