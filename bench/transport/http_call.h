#pragma once

// One HTTP request and its answer on a connection of its own thread: for what is not measured.

#include <string>
#include <string_view>

#include "base/status.h"
#include "bench/transport/http_response.h"
#include "bench/transport/tcp.h"

namespace bulla {

// Sends the request on a blocking socket and reads the answer into `in`, where the response's body
// then lies. UNAVAILABLE when the connection is lost, FAILED_PRECONDITION when what answers does
// not speak Bulla's HTTP or says more than `body_bytes_max`.
absl::StatusOr<HttpResponse> CallBlocking(int fd, std::string_view request,
                                          std::size_t body_bytes_max, std::string& in);

// GET of a path over a connection of its own; errors as above, and when the status is not 200.
absl::StatusOr<std::string> GetBlocking(const Target& target, std::string_view path);

}  // namespace bulla
