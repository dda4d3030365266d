#pragma once

// A session on a descriptor: what arrives is fed to it, what it has to say leaves, and its timers
// run, all on one event loop. What gathers in one turn of the loop leaves together. A peer that
// does not take what it is sent is not listened to until it does.

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/status.h"
#include "http2/protocol.h"
#include "http2/session.h"

namespace bulla::http2 {

// Confined to the thread of its loop, Start() too. Lives until it is over, and for as long as
// anybody holds it.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  // `fd` is a connected stream socket of any kind. `clock` outlives it.
  static std::shared_ptr<Connection> Start(boost::asio::io_context& io, UniqueFd fd,
                                           const Clock& clock, const Session::Options& options,
                                           std::unique_ptr<Protocol> protocol);
  ~Connection();

  // Says goodbye if the peer takes it at once, and closes; OnOver() is told soon, not within the
  // call. Idempotent.
  void Close(absl::Status reason);
  // Ends at once, OnOver() within the call. Also for whoever has joined the loop's thread and is
  // about to destroy the loop: afterwards nobody posts to it by this connection.
  void Abort(const absl::Status& reason) { End(reason); }
  // As Session::Drain().
  void Drain() { session_.Drain(); }

  bool closed() const { return closed_; }

 private:
  using Socket = boost::asio::generic::stream_protocol::socket;

  // The way to the loop from other threads, which may hold it for longer than the loop lasts.
  struct Door {
    Mutex mutex;
    boost::asio::io_context* io BULLA_GUARDED_BY(mutex) = nullptr;  // null: it is shut
  };

  Connection(boost::asio::io_context& io, const Clock& clock, const Session::Options& options,
             std::unique_ptr<Protocol> protocol);
  void OpenDoor();
  void ShutDoor();
  absl::Status Take(UniqueFd fd);

  // Has Turn() called behind what the loop has to do already. Cheap when it is due anyway.
  void TurnSoon();
  // Does what is due and sends what has gathered.
  void Turn();
  void Send();
  void AwaitWritable();
  void ReadMore();
  void OnRead(const boost::system::error_code& error, std::size_t size);
  void Arm(MonotonicTime due);
  void End(const absl::Status& reason);

  std::size_t unsent() const { return out_.size() - out_sent_; }

  boost::asio::io_context& io_;
  const Clock& clock_;
  const std::shared_ptr<Door> door_ = std::make_shared<Door>();
  Socket socket_;
  boost::asio::steady_timer timer_;
  const std::unique_ptr<Protocol> protocol_;
  Session session_;

  bool turn_posted_ = false;
  bool reading_ = false;
  bool awaits_writable_ = false;
  bool closed_ = false;
  std::optional<absl::Status> closing_;  // why
  MonotonicTime armed_ = MonotonicTime::max();
  std::string out_;  // of which the kernel has taken out_sent_ bytes
  std::size_t out_sent_ = 0;
  MonotonicTime unsent_since_;
  std::array<std::uint8_t, 16 * 1024> in_;
};

}  // namespace bulla::http2
