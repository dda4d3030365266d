#pragma once

// One I/O thread of the gRPC front end (gateway/frontend/worker) with the connections that it
// accepted.

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gateway/access/connection_places.h"
#include "gateway/frontend/worker.h"
#include "gateway/grpc/connection.h"
#include "gateway/grpc/shared.h"
#include "http2/connection.h"

namespace bulla {

class GrpcProxyHeaderWait;
class GrpcSignStream;

// A call that stands until its caller ends it: an idle one would keep a drain waiting for ever.
// Confined to its worker's thread.
class GrpcStandingCall {
 public:
  // It is to end as soon as what it was asked is answered; it may delete itself.
  virtual void OnDrain() = 0;
  // Whether calls are served has changed.
  virtual void OnServingChanged() {}

 protected:
  ~GrpcStandingCall() = default;
};

// Confined to its thread, but for what FrontendWorker says.
class GrpcWorker final : public FrontendWorker {
 public:
  // `shared` must outlive it. `index` names the thread.
  GrpcWorker(GrpcShared& shared, std::size_t index);
  ~GrpcWorker() override;

  // From any thread: shared().serving has changed.
  void ServingChanged();

  // For the connections and their calls.
  GrpcShared& shared() { return shared_; }
  ConnectionPlaces<GrpcConnection>& places() { return places_; }
  // Of a message that is being written: until the next.
  std::string& scratch() { return scratch_; }
  void Add(GrpcStandingCall& call) { standing_.insert(&call); }
  void Remove(GrpcStandingCall& call) { standing_.erase(&call); }
  // It has results; told to leave when all that came back with them has been told.
  void FlushLater(std::shared_ptr<GrpcSignStream> stream);
  // Deletes it.
  void Remove(GrpcConnection& connection);

 private:
  // FrontendWorker
  void TakeConnection(UniqueFd fd) override;
  void OnCallDone(SignCall& call) override;
  void OnCallsDone() override;
  void TickConnections(MonotonicTime now) override;
  void DrainConnections() override;
  void StopConnections() override;
  bool has_connections() const override { return !connections_.empty() || !waits_.empty(); }

  bool FindPlace();
  void ReturnPlace();
  // `source`: what the PROXY header says. The connection has a place.
  void Begin(UniqueFd fd, const IpAddress& source);
  void Close(GrpcConnection& connection, absl::Status reason);

  GrpcShared& shared_;
  const std::size_t memory_bytes_max_;
  ConnectionPlaces<GrpcConnection> places_;
  std::map<GrpcConnection*, std::shared_ptr<http2::Connection>> connections_;
  // Connections of proxies whose headers have not come yet.
  std::set<std::shared_ptr<GrpcProxyHeaderWait>> waits_;
  std::set<GrpcStandingCall*> standing_;
  std::vector<std::shared_ptr<GrpcSignStream>> to_flush_;
  std::string scratch_;
};

}  // namespace bulla
