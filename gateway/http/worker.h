#pragma once

// One I/O thread of the HTTP front end (gateway/frontend/worker) with the connections that it
// accepted.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/access/connection_places.h"
#include "gateway/frontend/worker.h"
#include "gateway/http/shared.h"

namespace bulla {

class HttpConnection;

// Confined to its thread, but for what FrontendWorker says.
class HttpWorker final : public FrontendWorker {
 public:
  // `shared` must outlive it. `index` names the thread.
  HttpWorker(HttpShared& shared, std::size_t index);

  // For the connections and their exchanges.
  HttpShared& shared() { return shared_; }
  ConnectionPlaces<HttpConnection>& places() { return places_; }
  // Deletes it.
  void Remove(HttpConnection* connection);
  std::string_view HttpDate();  // now, as the Date field has it

 private:
  // FrontendWorker
  void TakeConnection(UniqueFd fd) override;
  void OnCallDone(SignCall& call) override;
  void TickConnections(MonotonicTime now) override;
  void DrainConnections() override;
  void StopConnections() override;
  bool has_connections() const override { return !connections_.empty(); }

  HttpShared& shared_;
  std::vector<HttpConnection*> connections_;  // owned; each knows its index
  ConnectionPlaces<HttpConnection> places_;
  std::int64_t date_second_ = -1;
  std::string date_;
};

}  // namespace bulla
