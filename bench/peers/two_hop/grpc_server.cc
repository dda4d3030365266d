// The signer of the peer that speaks gRPC: a callback service, one unary call for each request.

#include <algorithm>
#include <csignal>
#include <grpcpp/grpcpp.h>

#include "bench/peers/two_hop/signer_server.h"
#include "two_hop/two_hop.grpc.pb.h"

namespace peers {
namespace {

namespace v1 = bulla::peers::v1;

class SignerService final : public v1::TwoHopSigner::CallbackService {
 public:
  explicit SignerService(KeyRing& keys) : keys_(keys) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context, const v1::CreateRequest*,
                                   v1::CreateResponse* response) override {
    NewKey key = keys_.Create();
    response->set_key_id(key.id.bytes.data(), key.id.bytes.size());
    response->set_public_key(key.public_key.data(), key.public_key.size());
    response->set_address(key.address.data(), key.address.size());
    return Finish(context, grpc::Status::OK);
  }

  grpc::ServerUnaryReactor* Sign(grpc::CallbackServerContext* context,
                                 const v1::SignRequest* request,
                                 v1::SignResponse* response) override {
    bulla::Digest32 digest;
    if (request->key_id().size() != bulla::KeyId::kBytes ||
        request->digest().size() != digest.size()) {
      return Finish(context, {grpc::StatusCode::INVALID_ARGUMENT, "sizes"});
    }
    bulla::KeyId id = bulla::KeyId::FromBytes(bulla::AsBytes(request->key_id()));
    std::ranges::copy(bulla::AsBytes(request->digest()), digest.begin());
    std::optional<bulla::RecoverableSignature> signature = keys_.Sign(id, digest);
    if (!signature) return Finish(context, {grpc::StatusCode::NOT_FOUND, "no such key"});
    response->set_signature(signature->rs.data(), signature->rs.size());
    response->set_recovery_id(signature->recovery_id);
    return Finish(context, grpc::Status::OK);
  }

 private:
  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context,
                                          const grpc::Status& status) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }

  KeyRing& keys_;
};

}  // namespace

void ServeGrpcBlocking(const std::string& socket_path, KeyRing& keys,
                       const std::function<void()>& ready) {
  // Blocked before gRPC starts its threads, which inherit it: the signal is for sigwait below.
  sigset_t ends;
  ::sigemptyset(&ends);
  ::sigaddset(&ends, SIGTERM);
  ::sigaddset(&ends, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  SignerService service(keys);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket_path, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return;
  ready();
  int signal = 0;
  ::sigwait(&ends, &signal);
  server->Shutdown();
}

}  // namespace peers
