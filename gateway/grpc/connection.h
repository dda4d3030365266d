#pragma once

// One connection of a gRPC caller: who it is, what its calls have out with the service, and when
// nothing of it is left. HTTP/2 and gRPC themselves are http2/'s.
//
// A call may end before the service has answered it (cancelled, late, the connection lost): what
// comes back then finds its call by its connection and the stream's number, or nobody. So the
// connection stays, closed or not, until all that is out has come back.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <google/protobuf/message.h>

#include "base/clock.h"
#include "gateway/access/connection_places.h"
#include "gateway/call/call_context.h"
#include "gateway/call/clients.h"
#include "gateway/call/ip_address.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/metrics.h"
#include "gateway/grpc/shared.h"
#include "http2/grpc_server.h"

namespace bulla {

class GrpcWorker;
struct GrpcSignCall;

// Whom signatures come back to; it is there until the last has. Confined to its connection's
// thread.
class GrpcSigner {
 public:
  virtual void OnCallDone(GrpcSignCall& call) = 0;

 protected:
  ~GrpcSigner() = default;
};

// One signature under way, of a unary call or of a stream.
struct GrpcSignCall final : SignCall {
  GrpcSigner* signer = nullptr;
  std::uint64_t ref = 0;
  bool der = false;
  MonotonicTime read_at;
};

// Confined to its worker's thread. Owned by what carries it (http2::Connection), which the worker
// holds.
class GrpcConnection final : public http2::GrpcServer {
 public:
  // `address`: the peer's, or what its PROXY header says.
  GrpcConnection(GrpcWorker& worker, const IpAddress& address);
  ~GrpcConnection() override;
  GrpcConnection(const GrpcConnection&) = delete;
  GrpcConnection& operator=(const GrpcConnection&) = delete;

  // What a method is given.
  static GrpcConnection& From(http2::GrpcServer& server) {
    return static_cast<GrpcConnection&>(server);
  }

  GrpcWorker& worker() { return worker_; }
  const IpAddress& address() const { return address_; }
  const Client& client() const { return client_; }
  // It no longer counts, and is about to be closed.
  void LeavePlace();
  // That it holds for its caller.
  std::size_t memory_bytes() { return session().memory_bytes() + partial_bytes(); }

  // Something is with the service, and is back. The latter may delete the connection.
  void CallOut();
  void CallBack();

  void Send(http2::StreamId call, const google::protobuf::Message& message);
  void Answer(http2::StreamId call, const google::protobuf::Message& message);
  using http2::GrpcServer::Answer;
  using http2::GrpcServer::Send;
  // Counts the call, and ends it with `error`, which may be none.
  void Finish(http2::StreamId call, FrontendMethod method, const Error& error);
  using http2::GrpcServer::Finish;

  // http2::Protocol
  void OnOver(const absl::Status& reason) override;

 private:
  void RemoveIfDone();

  GrpcWorker& worker_;
  const IpAddress address_;
  const Client client_;
  ConnectionPlaces<GrpcConnection>::Place place_;
  bool has_place_ = true;  // of connections_max
  std::size_t calls_out_ = 0;
  bool over_ = false;
};

// What is known of a call from its headers: who makes it and under which request id. It names the
// request id to the caller.
class GrpcCallHead {
 public:
  GrpcCallHead(GrpcConnection& connection, const http2::GrpcRequest& request);
  GrpcCallHead(const GrpcCallHead&) = delete;
  GrpcCallHead& operator=(const GrpcCallHead&) = delete;

  // What is wrong with the headers.
  const Error& error() const { return error_; }
  GrpcConnection& connection() const { return connection_; }
  http2::StreamId stream() const { return stream_; }
  // The earlier of the caller's deadline and `timeout` from `now`.
  MonotonicTime Deadline(MonotonicTime now, Duration timeout) const {
    return std::min(now + timeout, deadline_);
  }
  const CallContext& context() const { return context_; }

 private:
  GrpcConnection& connection_;
  const http2::StreamId stream_;
  const MonotonicTime deadline_;
  std::string request_id_;
  std::optional<Client> behind_proxy_;
  CallContext context_;
  Error error_;
};

}  // namespace bulla
