#pragma once

// The other end of enclave.proto as a test wants it: a real gRPC server on a real socket that makes
// no signature and answers by script. "Signatures" carry the digest, so that a test sees whether an
// answer belongs to its question.

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "base/fd.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "wire/address.h"
#include "wire/codec.h"
#include "wire/enclave.grpc.pb.h"

namespace bulla {

// Thread-safe. A new instance on the same address is the enclave after a restart: it knows nothing.
class FakeEnclave final : public wire::v1::Enclave::Service {
 public:
  // What to do with a frame instead of the usual; false: end the stream with an error.
  using Script = std::function<bool(const RequestBatch&, ReplyBatch&)>;

  explicit FakeEnclave(const Address& address);
  ~FakeEnclave() override;  // cuts every connection

  void SetScript(Script script) BULLA_EXCLUDES(mutex_);
  // Unlocks to fail before one succeeds.
  void FailUnlocks(int count) { unlocks_to_fail_ = count; }

  DekId sealing_dek() const { return sealing_dek_; }
  int sealing_deks_obtained() const { return sealing_deks_obtained_; }
  int deks_opened() const { return deks_opened_; }
  int blobs_loaded() const { return blobs_loaded_; }
  int frames() const { return frames_; }

  // What it answers when it has blob and DEK.
  static RecoverableSignature SignatureOf(const Digest32& digest);

 private:
  grpc::Status Hello(grpc::ServerContext*, const wire::v1::HelloRequest*,
                     wire::v1::HelloReply* reply) override;
  grpc::Status Unlock(grpc::ServerContext*, const wire::v1::UnlockRequest* request,
                      wire::v1::UnlockReply* reply) override;
  grpc::Status Probe(grpc::ServerContext*, const wire::v1::ProbeRequest*,
                     wire::v1::ProbeReply*) override;
  grpc::Status Session(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<wire::v1::ReplyFrame, wire::v1::RequestFrame>* stream) override;

  bool Answer(const RequestBatch& requests, ReplyBatch& replies) BULLA_EXCLUDES(mutex_);
  void DescribeSealingDek(wire::v1::SealingDek& out) const;

  const BootId boot_id_ = BootId::New({});
  const DekId sealing_dek_ = DekId::New({});
  std::atomic<int> sealing_deks_obtained_{0};
  std::atomic<int> deks_opened_{0};
  std::atomic<int> blobs_loaded_{0};
  std::atomic<int> frames_{0};
  std::atomic<int> unlocks_to_fail_{0};

  Mutex mutex_;
  Script script_ BULLA_GUARDED_BY(mutex_);
  std::set<KeyId> keys_ BULLA_GUARDED_BY(mutex_);
  std::set<DekId> deks_ BULLA_GUARDED_BY(mutex_);
  std::set<int> connections_ BULLA_GUARDED_BY(mutex_);  // duplicates of gRPC's, to cut them

  UniqueFd listener_;
  UniqueFd wake_;
  std::unique_ptr<grpc::Server> server_;
  std::thread acceptor_;
};

// The blob of a fake key: its id and its DEK's.
Bytes FakeBlob(const KeyId& key_id, const DekId& dek_id);

}  // namespace bulla
