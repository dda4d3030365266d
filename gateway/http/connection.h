#pragma once

// One connection of the HTTP front end: the bytes of its requests in, the bytes of its answers out,
// and how long each may take. What a request asks for and what is answered is its exchange's
// (gateway/http/exchange). Requests are served one after the other, in order, pipelined or not.

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "base/clock.h"
#include "base/hot.h"
#include "gateway/access/connection_places.h"
#include "gateway/call/clients.h"
#include "gateway/frontend/worker.h"
#include "gateway/http/exchange.h"
#include "gateway/http/request.h"

namespace bulla {

class HttpWorker;

// It is always in one phase: reading a request, working (the service has it), writing the answer,
// or lingering before it closes. It deletes itself when it is closed and nothing that refers to it
// is outstanding.
//
// Confined to its worker's thread.
class HttpConnection final : public KeyAsker {
 public:
  HttpConnection(HttpWorker& worker, boost::asio::ip::tcp::socket socket);
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  ~HttpConnection();

  // Each of these is an entry from the event loop and may delete the connection.
  void Start();
  void OnCallDone(const HttpSignCall& call);
  void OnKey(const Error& error, const KeyRow& key) override;  // KeyAsker
  void OnTick(MonotonicTime now);
  void OnDrain();
  void OnStop();

  // Of the request that is being served.
  const Client& client() const { return behind_proxy_ ? *behind_proxy_ : *client_; }

  // It makes room for another.
  void OnGiveUpPlace();

  std::size_t index = 0;  // in HttpWorker::connections_
  // kTurnedAway: one too many, it is told so, whatever it asks for. kGivenUp: another has its
  // place.
  enum class Seat : std::uint8_t { kTaken, kTurnedAway, kGivenUp };
  Seat seat = Seat::kTaken;

 private:
  enum class Phase { kReading, kWorking, kWriting, kLingering, kClosed };

  // The loop of a connection: takes requests out of what was read, serves them, reads more.
  void Advance();
  bool Serve();
  void FindClient();
  void RefuseRequest(const HttpRefusal& refusal);

  // Reading.
  void ReadMore();
  void OnRead(const boost::system::error_code& ec, std::size_t bytes);
  bool TakeProxyHeader();
  void NoteRequestPhase();
  HttpRefusal SendContinue();
  bool AccountBody();

  // Writing. True: all of it is written. False: the rest follows, or the connection is closed.
  bool WriteAnswer();
  bool WriteRest();
  void AwaitWritable();
  void OnWritable(const boost::system::error_code& ec);
  bool MoreHasArrived();
  bool FinishRequest();

  // The end.
  void Linger();
  // From now on the caller has `timeout`.
  void WaitFor(const Hot<std::chrono::milliseconds>& timeout);
  void Close();
  void DeleteIfDone();

  HttpWorker& worker_;
  ConnectionPlaces<HttpConnection>::Place place_;
  boost::asio::ip::tcp::socket socket_;
  IpAddress address_;  // the peer's, or what its PROXY header says
  std::optional<Client> client_;
  std::optional<Client> behind_proxy_;  // of this request, where a proxy speaks for it
  bool awaits_proxy_header_ = false;
  HttpRequestReader reader_;
  HttpExchange exchange_;
  Phase phase_ = Phase::kReading;
  // It is over when either is: what the caller is waited for, as the setting is then, or a time
  // that no setting has.
  const Hot<std::chrono::milliseconds>* timeout_ = nullptr;
  MonotonicTime waits_since_;
  MonotonicTime deadline_ = MonotonicTime::max();
  int outstanding_ = 0;  // reads and writes that will come back to this object
  bool close_after_ = false;
  bool sent_continue_ = false;

  std::vector<char> in_;  // what was read and not yet taken is [in_begin_, in_end_)
  std::size_t in_begin_ = 0;
  std::size_t in_end_ = 0;
  MonotonicTime read_at_;  // the last of it
  HttpRequestReader::State noted_state_ = HttpRequestReader::State::kIdle;
  std::size_t in_pool_bytes_ = 0;      // this connection's part of the pool of requests, for in_
  std::size_t body_pool_bytes_ = 0;    // and for the body
  std::size_t answer_pool_bytes_ = 0;  // of that of answers; 0: the answer was not held up
  std::size_t lingered_bytes_ = 0;

  std::string out_;  // the answer, of which out_sent_ bytes are written
  std::size_t out_sent_ = 0;
};

}  // namespace bulla
