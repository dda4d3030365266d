#pragma once

// What is known of a call whatever it asks for: one for each request, shared by all that the
// request asks for. A front end fills it in; the chain in front of the router
// (gateway/call/signer_filter) decides by it.

#include <string_view>

#include "gateway/call/clients.h"

namespace bulla {

// The front end keeps it alive and unchanged until everything that it was asked for is complete.
struct CallContext {
  const Client* client = nullptr;  // never null in front of the chain
  std::string_view request_id;
};

}  // namespace bulla
