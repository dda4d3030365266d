#include "bench/load/key_maker.h"

#include <algorithm>
#include <fmt/format.h>

#include "bench/load/progress.h"
#include "bench/transport/grpc_support.h"
#include "bench/transport/http_call.h"
#include "bulla/v1/signer.grpc.pb.h"

namespace bulla {
namespace {

constexpr std::size_t kKeyIdBytes = 36;

absl::StatusOr<std::vector<BenchKey>> MakeKeysOverHttp(const Target& target, int count,
                                                       Progress& progress) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, ConnectBlocking(target));
  std::string request = fmt::format(
      "POST {}/create HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
      "Content-Length: 2\r\n\r\n{{}}",
      target.path, target.host_field);
  std::vector<BenchKey> keys;
  std::string in;
  for (int i = 0; i < count; ++i) {
    BULLA_ASSIGN_OR_RETURN(HttpResponse response,
                           CallBlocking(fd.get(), request, AnswerBytesMax(1), in));
    BenchKey key{.id = std::string(TextMember(response.body, "keyId"))};
    if (response.status != 200 || key.id.size() != kKeyIdBytes ||
        !HexDecode(TextMember(response.body, "publicKey"), key.public_key)) {
      return absl::FailedPreconditionError(
          fmt::format("POST /create: HTTP {}: {}", response.status, response.body));
    }
    keys.push_back(std::move(key));
    progress.Show(keys.size());
  }
  return keys;
}

absl::StatusOr<std::vector<BenchKey>> MakeKeysOverGrpc(const Target& target, int count,
                                                       Progress& progress) {
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
    progress.Show(keys.size());
  }
  return keys;
}

}  // namespace

absl::StatusOr<std::vector<BenchKey>> MakeKeysBlocking(const Target& target, Protocol protocol,
                                                       int count, const Clock& clock,
                                                       std::ostream& err) {
  Progress progress("making keys", static_cast<std::uint64_t>(count), clock, err);
  return IsGrpc(protocol) ? MakeKeysOverGrpc(target, count, progress)
                          : MakeKeysOverHttp(target, count, progress);
}

}  // namespace bulla
