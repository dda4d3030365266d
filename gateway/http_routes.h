#pragma once

// Which path and method of the HTTP face is what, and what a request may carry there besides its
// body's fields. Pure functions.

#include <string_view>

#include "gateway/face_metrics.h"
#include "gateway/http_request.h"

namespace bulla {

struct HttpRoute {
  FaceMethod method = FaceMethod::kOther;
  std::string_view allow;   // the one HTTP method there is besides OPTIONS
  std::string_view key_id;  // of GET /keys/{keyId}: a part of the request's target
};

// Each returns what is wrong, or a refusal that is none. They are to be asked in this order.

HttpRefusal FindRoute(const HttpRequest& request, HttpRoute& out);
// OPTIONS is not among the methods it lets pass.
HttpRefusal CheckMethod(const HttpRoute& route, const HttpRequest& request);
// The query, the header fields and whether there may be a body.
HttpRefusal CheckEnvelope(const HttpRoute& route, const HttpRequest& request);

}  // namespace bulla
