#include "bench/transport/http_call.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>

#include "base/errno_text.h"

namespace bulla {
namespace {

constexpr std::size_t kReadBytes = 16'384;
// The metrics of a gateway with 16 enclaves have some 100 KB.
constexpr std::size_t kGetBytesMax = 4 << 20;

absl::Status Lost() {
  return absl::UnavailableError(fmt::format("the connection was lost: {}", ErrnoText(errno)));
}

}  // namespace

absl::StatusOr<HttpResponse> CallBlocking(int fd, std::string_view request,
                                          std::size_t body_bytes_max, std::string& in) {
  while (!request.empty()) {
    ssize_t bytes = ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    if (bytes < 0) return Lost();
    request.remove_prefix(static_cast<std::size_t>(bytes));
  }
  in.clear();
  HttpResponse response;
  while (in.size() < kReadBytes + body_bytes_max) {
    const std::size_t received = in.size();
    in.resize(received + kReadBytes);
    ssize_t bytes = ::recv(fd, in.data() + received, kReadBytes, 0);
    if (bytes < 0) return Lost();
    if (bytes == 0) return absl::UnavailableError("the service closed the connection");
    in.resize(received + static_cast<std::size_t>(bytes));
    ResponseState state = ReadResponse(in, body_bytes_max, response);
    if (state == ResponseState::kComplete) return response;
    if (state == ResponseState::kMalformed) break;
  }
  return absl::FailedPreconditionError("what answers does not speak Bulla's HTTP");
}

absl::StatusOr<std::string> GetBlocking(const Target& target, std::string_view path) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, ConnectBlocking(target));
  std::string in;
  BULLA_ASSIGN_OR_RETURN(
      HttpResponse response,
      CallBlocking(fd.get(),
                   fmt::format("GET {}{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                               target.path, path, target.host_field),
                   kGetBytesMax, in));
  if (response.status == 200) return std::string(response.body);
  return absl::FailedPreconditionError(fmt::format("GET {}: HTTP {}", path, response.status));
}

}  // namespace bulla
