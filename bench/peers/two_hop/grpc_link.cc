// The front's way to the signer of the peer that speaks gRPC: one channel, one unary call for each
// request.

#include <algorithm>
#include <grpcpp/grpcpp.h>

#include "bench/peers/two_hop/link.h"
#include "two_hop/two_hop.grpc.pb.h"

namespace peers {
namespace {

namespace v1 = bulla::peers::v1;

// A call under way, deleted by its end.
template <typename Request, typename Response>
struct UnaryCall {
  grpc::ClientContext context;
  Request request;
  Response response;
};

// False, with `out` unspecified, when the size is another.
template <std::size_t N>
bool Copy(const std::string& from, bulla::ByteArray<N>& out) {
  if (from.size() != N) return false;
  std::ranges::copy(bulla::AsBytes(from), out.begin());
  return true;
}

std::optional<NewKey> ReadCreated(const v1::CreateResponse& response) {
  NewKey key;
  bool well_formed = Copy(response.key_id(), key.id.bytes) &&
                     Copy(response.public_key(), key.public_key) &&
                     Copy(response.address(), key.address);
  return well_formed ? std::optional(key) : std::nullopt;
}

std::optional<bulla::RecoverableSignature> ReadSigned(const v1::SignResponse& response) {
  bulla::RecoverableSignature signature;
  if (!Copy(response.signature(), signature.rs)) return std::nullopt;
  signature.recovery_id = static_cast<std::uint8_t>(response.recovery_id());
  return signature;
}

class GrpcLink final : public Link {
 public:
  explicit GrpcLink(const std::string& socket_path)
      : stub_(v1::TwoHopSigner::NewStub(
            grpc::CreateChannel("unix:" + socket_path, grpc::InsecureChannelCredentials()))) {}

  void Create(OnCreated done) override {
    auto* call = new UnaryCall<v1::CreateRequest, v1::CreateResponse>;
    stub_->async()->Create(&call->context, &call->request, &call->response,
                           [call, done = std::move(done)](const grpc::Status& status) {
                             done(status.ok() ? ReadCreated(call->response) : std::nullopt);
                             delete call;
                           });
  }

  void Sign(const bulla::KeyId& id, const bulla::Digest32& digest, OnSigned done) override {
    auto* call = new UnaryCall<v1::SignRequest, v1::SignResponse>;
    call->request.set_key_id(id.bytes.data(), id.bytes.size());
    call->request.set_digest(digest.data(), digest.size());
    stub_->async()->Sign(&call->context, &call->request, &call->response,
                         [call, done = std::move(done)](const grpc::Status& status) {
                           done(status.ok() ? ReadSigned(call->response) : std::nullopt);
                           delete call;
                         });
  }

 private:
  const std::unique_ptr<v1::TwoHopSigner::Stub> stub_;
};

}  // namespace

std::unique_ptr<Link> MakeGrpcLink(const std::string& socket_path) {
  return std::make_unique<GrpcLink>(socket_path);
}

}  // namespace peers
