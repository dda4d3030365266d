#pragma once

// What the threads of the HTTP face share. What is not in here belongs to one thread alone.

#include <atomic>
#include <utility>

#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/admission.h"
#include "gateway/face_metrics.h"
#include "gateway/http_server.h"
#include "gateway/signer_service.h"

namespace bulla {

// Thread-safe.
struct HttpShared {
  HttpShared(HttpServer::Options o, SignerService& s, Admission& a, Metrics& m, const Clock& c)
      : options(std::move(o)), service(s), admission(a), clock(c), metrics(m, "http") {}

  const HttpServer::Options options;
  SignerService& service;
  Admission& admission;
  const Clock& clock;
  FaceMetrics metrics;
  std::atomic<std::size_t> connections{0};      // against connections_max
  std::atomic<std::size_t> body_pool_bytes{0};  // against limits::kHttpBodyPoolBytes
};

}  // namespace bulla
