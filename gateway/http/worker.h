#pragma once

// One I/O thread of the HTTP front end: its event loop, its listening socket, the connections that
// it accepted, and the hand-offs between it and the service.
//
// To the service: signatures that were asked for in one turn of the loop are submitted together.
// From the service, on whatever thread that chooses: finished calls gather in a list, and the loop
// is woken once for all that are in it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/acceptor.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/random.h"
#include "base/status.h"
#include "gateway/access/connection_places.h"
#include "gateway/call/call_list.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/metrics.h"
#include "gateway/frontend/request_id.h"
#include "gateway/http/shared.h"
#include "wire/errors.h"

namespace bulla {

class HttpConnection;
struct HttpSignCall;

// A create or a look-up that is answered: on its way from the service's thread to ours.
struct HttpKeyAnswer {
  HttpConnection* connection;
  Error error;
  KeyRow key;
};

// Confined to its thread, but for Complete and CompleteKey (any thread) and the functions that say
// otherwise.
class HttpWorker final : public CompletionSink {
 public:
  // `shared` must outlive it. `index` names the thread.
  HttpWorker(HttpShared& shared, std::size_t index);

  // From the starting thread, in this order.
  absl::Status Listen(const boost::asio::ip::tcp::endpoint& endpoint);
  boost::asio::ip::tcp::endpoint endpoint() const { return endpoint_; }
  const std::string& address() const { return address_; }  // HOST:PORT
  void StartThread();

  // From the stopping thread.
  void BeginDrain();
  // Whether a drain came to its end within `timeout`: no listener, no connection.
  bool WaitUntilEmpty(Duration timeout);
  // Closes the connections and joins the thread, once the service has given back all calls.
  void StopBlocking();

  // From any thread.
  void Complete(SignCall* first) override;  // CompletionSink
  void CompleteKey(HttpKeyAnswer answer);

  // From here on for the connections and their exchanges.
  HttpShared& shared() { return shared_; }
  RequestIdSource& ids() { return ids_; }
  bool draining() const { return draining_; }
  MonotonicTime Now() const { return shared_.clock.Now(); }
  // The call comes back to its connection's OnCallDone.
  void Submit(HttpSignCall* call);
  ConnectionPlaces<HttpConnection>& places() { return places_; }
  // Deletes it.
  void Remove(HttpConnection* connection);
  std::string_view HttpDate();  // now, as the Date field has it
  LatencyTally& parse_latency() { return parse_latency_; }
  LatencyTally& total_latency() { return total_latency_; }
  std::uint64_t NextJitter() { return jitter_state_ = jitter_state_ * 6364136223846793005u + 1; }

 private:
  void TakeAccepted(UniqueFd fd);
  void StartTicker();
  void Tick();
  void SubmitGathered();
  void TakeDelivered();
  void Wake() BULLA_REQUIRES(mutex_);
  void TellIfEmpty();

  HttpShared& shared_;
  const std::size_t index_;
  boost::asio::io_context io_{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
  std::thread thread_;

  // Confined to the I/O thread.
  boost::asio::ip::tcp::endpoint endpoint_;
  std::string address_;
  std::optional<Acceptor> acceptor_;
  boost::asio::steady_timer ticker_;
  std::vector<HttpConnection*> connections_;  // owned; each knows its index
  ConnectionPlaces<HttpConnection> places_;
  RequestIdSource ids_;
  CallList gathered_;  // parsed in this turn of the loop, not yet submitted
  bool submit_posted_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  LatencyTally parse_latency_;
  LatencyTally total_latency_;
  std::int64_t date_second_ = -1;
  std::string date_;
  std::uint64_t jitter_state_ = RandomUint64() | 1;

  Mutex mutex_;
  CondVar empty_changed_;
  SignCall* delivered_ BULLA_GUARDED_BY(mutex_) = nullptr;
  std::vector<HttpKeyAnswer> key_answers_ BULLA_GUARDED_BY(mutex_);
  bool wake_posted_ BULLA_GUARDED_BY(mutex_) = false;
  bool empty_ BULLA_GUARDED_BY(mutex_) = false;  // drained: no listener, no connection
};

}  // namespace bulla
