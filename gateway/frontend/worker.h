#pragma once

// One I/O thread of a front end, HTTP or gRPC: its event loop, its listening socket, and the
// hand-offs between its connections and the service.
//
// To the service: signatures that were asked for in one turn of the loop are submitted together.
// From the service, on whatever thread that chooses: finished calls gather in a list, and the loop
// is woken once for all that are in it.
//
// And all threads of a front end: they listen on one port (SO_REUSEPORT: the kernel spreads the
// connections). A connection never leaves its thread, so nothing in it is locked.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
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
#include "gateway/call/call_list.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/metrics.h"
#include "gateway/frontend/request_id.h"
#include "wire/errors.h"

namespace bulla {

// Who asked for a key to be made or looked up. It is there until it was told.
class KeyAsker {
 public:
  virtual void OnKey(const Error& error, const KeyRow& key) = 0;

 protected:
  ~KeyAsker() = default;
};

// Confined to its thread, but for Complete (any thread) and the functions that say otherwise.
class FrontendWorker : public CompletionSink {
 public:
  struct Options {
    std::string name;                       // "http": of listener and thread
    std::size_t index = 0;                  // of the thread
    std::function<void()> on_accept_pause;  // for a counter
  };
  // All but `options` outlive it.
  FrontendWorker(Options options, SignerService& service, FrontendMetrics& metrics,
                 const Clock& clock);

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

  // From here on for the connections and their calls.
  bool draining() const { return draining_; }
  MonotonicTime Now() const { return clock_.Now(); }
  RequestIdSource& ids() { return ids_; }
  // The call comes back to OnCallDone().
  void Submit(SignCall* call);
  // For the service: has `asker` told, on this thread.
  SignerService::KeyDone KeyDone(KeyAsker& asker);
  LatencyTally& parse_latency() { return parse_latency_; }
  LatencyTally& total_latency() { return total_latency_; }
  std::uint64_t NextJitter() { return jitter_state_ = jitter_state_ * 6364136223846793005u + 1; }

 protected:
  boost::asio::io_context& io() { return io_; }
  bool stopping() const { return stopping_; }
  // A connection is gone.
  void TellIfEmpty();

  // ---- What the front end does, on this thread.
  // It is connected. Not called any more while stopping.
  virtual void TakeConnection(UniqueFd fd) = 0;
  virtual void OnCallDone(SignCall& call) = 0;
  // All that came back together has been told.
  virtual void OnCallsDone() {}
  // Deadlines are looked at.
  virtual void TickConnections(MonotonicTime now) = 0;
  virtual void DrainConnections() = 0;
  virtual void StopConnections() = 0;
  virtual bool has_connections() const = 0;

 private:
  struct KeyAnswer {
    KeyAsker* asker;
    Error error;
    KeyRow key;
  };

  void StartTicker();
  void SubmitGathered();
  void TakeDelivered();
  void Wake() BULLA_REQUIRES(mutex_);

  const Options options_;
  SignerService& service_;
  const Clock& clock_;
  boost::asio::io_context io_{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
  std::thread thread_;

  // Confined to the I/O thread.
  boost::asio::ip::tcp::endpoint endpoint_;
  std::string address_;
  std::optional<Acceptor> acceptor_;
  boost::asio::steady_timer ticker_;
  RequestIdSource ids_;
  CallList gathered_;  // parsed in this turn of the loop, not yet submitted
  bool submit_posted_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  LatencyTally parse_latency_;
  LatencyTally total_latency_;
  std::uint64_t jitter_state_ = RandomUint64() | 1;

  Mutex mutex_;
  CondVar empty_changed_;
  SignCall* delivered_ BULLA_GUARDED_BY(mutex_) = nullptr;
  std::vector<KeyAnswer> key_answers_ BULLA_GUARDED_BY(mutex_);
  bool wake_posted_ BULLA_GUARDED_BY(mutex_) = false;
  bool empty_ BULLA_GUARDED_BY(mutex_) = false;  // drained: no listener, no connection
};

// The threads of one front end. For one thread.
class FrontendWorkers {
 public:
  using Make = std::function<std::unique_ptr<FrontendWorker>(std::size_t index)>;

  // Listens and starts `threads` of them. Returns the address, HOST:PORT with the port chosen.
  // Fails when it is taken. Call once.
  absl::StatusOr<std::string> Start(const std::string& listen, int threads, const Make& make);
  // Blocks. False at `deadline`, with some connections still open.
  bool Drain(MonotonicTime deadline, const Clock& clock);
  // Blocks. Idempotent.
  void Stop();

 private:
  std::vector<std::unique_ptr<FrontendWorker>> workers_;
};

}  // namespace bulla
