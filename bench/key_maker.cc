#include "bench/key_maker.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>

#include "bench/grpc_support.h"
#include "bench/http_response.h"
#include "bulla/v1/signer.grpc.pb.h"

namespace bulla {
namespace {

constexpr std::size_t kKeyIdBytes = 36;

absl::Status Lost() {
  return absl::UnavailableError(fmt::format("POST /create: {}", std::strerror(errno)));
}

// One request and its answer, whose body lies in `in`.
absl::StatusOr<HttpResponse> CallBlocking(int fd, std::string_view request,
                                          std::array<char, 2 * AnswerBytesMax(1)>& in) {
  while (!request.empty()) {
    ssize_t bytes = ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    if (bytes < 0) return Lost();
    request.remove_prefix(static_cast<std::size_t>(bytes));
  }
  std::size_t received = 0;
  HttpResponse response;
  while (received < in.size()) {
    ssize_t bytes = ::recv(fd, in.data() + received, in.size() - received, 0);
    if (bytes < 0) return Lost();
    if (bytes == 0) return absl::UnavailableError("POST /create: the service closed it");
    received += static_cast<std::size_t>(bytes);
    ResponseState state = ReadResponse({in.data(), received}, AnswerBytesMax(1), response);
    if (state == ResponseState::kComplete) return response;
    if (state == ResponseState::kMalformed) break;
  }
  return absl::FailedPreconditionError("what answers does not speak Bulla's HTTP");
}

absl::StatusOr<std::vector<BenchKey>> MakeKeysOverHttp(const Target& target, int count) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, ConnectBlocking(target));
  std::string request = fmt::format(
      "POST /create HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
      "Content-Length: 2\r\n\r\n{{}}",
      target.host_field);
  std::vector<BenchKey> keys;
  std::array<char, 2 * AnswerBytesMax(1)> in;
  for (int i = 0; i < count; ++i) {
    BULLA_ASSIGN_OR_RETURN(HttpResponse response, CallBlocking(fd.get(), request, in));
    BenchKey key{.id = std::string(TextMember(response.body, "keyId"))};
    if (response.status != 200 || key.id.size() != kKeyIdBytes ||
        !HexDecode(TextMember(response.body, "publicKey"), key.public_key)) {
      return absl::FailedPreconditionError(
          fmt::format("POST /create: HTTP {}: {}", response.status, response.body));
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

absl::StatusOr<std::vector<BenchKey>> MakeKeysOverGrpc(const Target& target, int count) {
  BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannelBlocking(target));
  std::unique_ptr<v1::Signer::Stub> stub = v1::Signer::NewStub(channel);
  std::vector<BenchKey> keys;
  for (int i = 0; i < count; ++i) {
    grpc::ClientContext context;
    v1::CreateResponse response;
    grpc::Status status = stub->Create(&context, {}, &response);
    BenchKey key{.id = response.key_id()};
    if (!status.ok() || key.id.size() != kKeyIdBytes ||
        response.public_key().size() != key.public_key.size()) {
      return absl::FailedPreconditionError(
          fmt::format("Signer.Create: {}", status.error_message()));
    }
    std::copy(response.public_key().begin(), response.public_key().end(), key.public_key.begin());
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace

absl::StatusOr<std::vector<BenchKey>> MakeKeysBlocking(const Target& target, Protocol protocol,
                                                       int count) {
  return IsGrpc(protocol) ? MakeKeysOverGrpc(target, count) : MakeKeysOverHttp(target, count);
}

}  // namespace bulla
