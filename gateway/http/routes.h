#pragma once

// Which path and method of the HTTP front end is what, and what a request may carry there besides
// its body's fields. Pure functions.

#include <string_view>

#include "gateway/frontend/host_rules.h"
#include "gateway/frontend/metrics.h"
#include "gateway/http/request.h"

namespace bulla {

struct HttpRoute {
  FrontendMethod method = FrontendMethod::kOther;
  std::string_view allow;   // the HTTP methods there are, as Allow has them
  std::string_view key_id;  // of GET /keys/{keyId}: a part of the request's target
};

// What is wrong with the header of `request`, or a refusal that is none: then `out` is where it
// goes. A request with the method OPTIONS asks for no more than `out.allow`.
HttpRefusal CheckHeader(const HttpRequest& request, const HostRules& hosts, HttpRoute& out);

// The parts of it that the admin listener has too.

// 501 for what is a method nowhere here, 417 for what nobody can be expected to do.
HttpRefusal CheckKnown(const HttpRequest& request);
// 405 when the method is not among those of `allow`.
HttpRefusal CheckMethod(const HttpRequest& request, std::string_view allow);
// 412 for what is to be done to a representation with a certain tag: there are no tags here.
HttpRefusal CheckPreconditions(const HttpRequest& request);
// 415 unless it is JSON that the body, if there is one, is said to be.
HttpRefusal CheckContent(const HttpRequest& request);

}  // namespace bulla
