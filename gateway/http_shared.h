#pragma once

// What the threads of the HTTP face share. What is not in here belongs to one thread alone.

#include <atomic>
#include <utility>

#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/face_metrics.h"
#include "gateway/http_server.h"
#include "gateway/signer_service.h"

namespace bulla {

// Takes one of `max` places: false when there is none. Thread-safe.
inline bool TakePlace(std::atomic<std::size_t>& taken, std::size_t max) {
  if (taken.fetch_add(1) < max) return true;
  taken.fetch_sub(1);
  return false;
}

// Thread-safe.
struct HttpShared {
  HttpShared(HttpServer::Options o, SignerService& s, Metrics& m, const Clock& c)
      : options(std::move(o)), service(s), clock(c), metrics(m, "http") {}

  const HttpServer::Options options;
  SignerService& service;
  const Clock& clock;
  FaceMetrics metrics;
  std::atomic<std::size_t> connections{0};      // against connections_max
  std::atomic<std::size_t> turned_away{0};      // against limits::kHttpTurnedAwayMax
  std::atomic<std::size_t> body_pool_bytes{0};  // against limits::kHttpBodyPoolBytes
};

}  // namespace bulla
