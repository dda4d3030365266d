#pragma once

// What the threads of the HTTP front end share. What is not in here belongs to one thread alone.

#include <atomic>
#include <functional>
#include <utility>

#include "base/acceptor.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/call/clients.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/metrics.h"
#include "gateway/http/server.h"

namespace bulla {

// Takes one of `max` places: false when there is none. Thread-safe.
inline bool TakePlace(std::atomic<std::size_t>& taken, std::size_t max) {
  if (taken.fetch_add(1) < max) return true;
  taken.fetch_sub(1);
  return false;
}

// Memory that all connections share. Each keeps count of its part. Thread-safe.
class HttpPool {
 public:
  explicit HttpPool(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // Adds `bytes` to `part`: false when there are not that many left.
  bool Take(std::size_t bytes, std::size_t& part) {
    if (bytes_.fetch_add(bytes) + bytes > bytes_max_) {
      bytes_.fetch_sub(bytes);
      return false;
    }
    part += bytes;
    return true;
  }
  void Return(std::size_t& part) { bytes_.fetch_sub(std::exchange(part, 0)); }

 private:
  const std::size_t bytes_max_;
  std::atomic<std::size_t> bytes_{0};
};

// Thread-safe.
struct HttpShared {
  HttpShared(HttpServer::Options o, SignerService& s, Clients& of, Metrics& m, const Clock& c)
      : options(std::move(o)),
        service(s),
        clients(of),
        clock(c),
        metrics(m, "http"),
        on_accept_pause(Acceptor::CountIn(m, "http")),
        places_given_up(m.AddCounter("bulla_gateway_http_places_given_up_total",
                                     "Connections that waited for their caller and were closed "
                                     "for a newcomer, when all places were taken")),
        request_pool(options.request_pool_bytes),
        answer_pool(options.answer_pool_bytes) {}

  const HttpServer::Options options;
  SignerService& service;
  Clients& clients;
  const Clock& clock;
  FrontendMetrics metrics;
  const std::function<void()> on_accept_pause;
  prometheus::Counter& places_given_up;
  std::atomic<std::size_t> connections{0};  // against connections_max
  std::atomic<std::size_t> turned_away{0};  // against limits::kHttpTurnedAwayMax
  HttpPool request_pool;
  HttpPool answer_pool;
};

}  // namespace bulla
