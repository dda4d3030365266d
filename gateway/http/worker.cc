#include "gateway/http/worker.h"

#include <utility>

#include <boost/asio/buffer.hpp>

#include "gateway/frontend/limits.h"
#include "gateway/http/answer.h"
#include "gateway/http/connection.h"
#include "gateway/http/exchange.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

}  // namespace

HttpWorker::HttpWorker(HttpShared& shared, std::size_t index)
    : FrontendWorker({.name = "http", .index = index, .on_accept_pause = shared.on_accept_pause},
                     shared.service, shared.metrics, shared.clock),
      shared_(shared) {}

void HttpWorker::TakeConnection(UniqueFd fd) {
  error_code ec;
  tcp::socket socket(io());
  if (socket.assign(endpoint().protocol(), fd.get(), ec)) return;
  fd.Release();
  socket.non_blocking(true, ec);
  socket.set_option(tcp::no_delay(true), ec);
  bool welcome = TakePlace(shared_.connections, shared_.options.connections_max);
  if (HttpConnection* other = welcome ? nullptr : places_.ToGiveUp(); other != nullptr) {
    shared_.places_given_up.Increment();
    other->OnGiveUpPlace();
    welcome = true;
  }
  if (!welcome && !TakePlace(shared_.turned_away, limits::kHttpTurnedAwayMax)) {
    static constexpr std::string_view kFull =
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\n"
        "Content-Length: 0\r\n\r\n";
    socket.write_some(asio::buffer(kFull.data(), kFull.size()), ec);
    shared_.metrics.Count(FrontendMethod::kOther, ErrorCode::kRetryLater);
    return;
  }
  auto* connection = new HttpConnection(*this, std::move(socket));
  connection->index = connections_.size();
  if (!welcome) connection->seat = HttpConnection::Seat::kTurnedAway;
  connections_.push_back(connection);
  connection->Start();
}

void HttpWorker::Remove(HttpConnection* connection) {
  connections_[connection->index] = connections_.back();
  connections_[connection->index]->index = connection->index;
  connections_.pop_back();
  if (connection->seat == HttpConnection::Seat::kTaken) shared_.connections.fetch_sub(1);
  if (connection->seat == HttpConnection::Seat::kTurnedAway) shared_.turned_away.fetch_sub(1);
  delete connection;
  TellIfEmpty();
}

void HttpWorker::OnCallDone(SignCall& call) {
  auto& done = static_cast<HttpSignCall&>(call);
  done.connection->OnCallDone(done);
}

// Each goes backwards: one that deletes itself is replaced by one that was looked at already.
void HttpWorker::TickConnections(MonotonicTime now) {
  for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnTick(now);
}

void HttpWorker::DrainConnections() {
  for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnDrain();
}

void HttpWorker::StopConnections() {
  for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnStop();
}

std::string_view HttpWorker::HttpDate() {
  const WallTime now = shared_.clock.WallNow();
  if (std::int64_t second = UnixMillis(now) / 1000; second != date_second_) {
    date_second_ = second;
    date_ = FormatHttpDate(now);
  }
  return date_;
}

}  // namespace bulla
