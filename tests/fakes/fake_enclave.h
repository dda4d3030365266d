#pragma once

// The other end of enclave.proto as a test wants it: a real gRPC server on a real socket that makes
// no signature and answers by script. "Signatures" carry the digest, so that a test sees whether an
// answer belongs to its question.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/ids.h"
#include "base/mutex.h"
#include "base/unlock_cause.h"
#include "wire/address.h"
#include "wire/codec.h"
#include "wire/enclave.grpc.pb.h"
#include "wire/key_policy.h"

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

  // Unlocks of DEKs wait until it is false again.
  void HoldUnlocks(bool hold) BULLA_EXCLUDES(mutex_);
  // Unlocks, of DEKs and for sealing, fail for this cause from now on; nothing: they succeed.
  void RefuseUnlocks(std::optional<UnlockCause> cause) BULLA_EXCLUDES(mutex_);
  // Whether it has the key; and what it was told to forget, in this order.
  bool Has(const KeyId& key_id) const BULLA_EXCLUDES(mutex_);
  std::vector<KeyId> forgotten() const BULLA_EXCLUDES(mutex_);
  // What it answers to probes from now on.
  void SetProbe(wire::v1::ProbeReply reply) BULLA_EXCLUDES(mutex_);
  // Refuses key policies with this message; nothing: takes them.
  void RefusePolicies(std::optional<std::string> message) BULLA_EXCLUDES(mutex_);

  // The key policy that it was last asked for and took, and how often it was asked.
  KeyPolicy key_policy() const BULLA_EXCLUDES(mutex_);
  int policies_asked() const { return policies_asked_; }
  int probes() const { return probes_; }
  int unlocks_begun() const { return unlocks_begun_; }  // of DEKs, whatever became of them

  DekId sealing_dek() const { return sealing_dek_; }
  int sealing_deks_obtained() const { return sealing_deks_obtained_; }
  int sealed_under() const { return sealed_under_; }  // how often it was told that it is durable
  // As the enclave does nothing for a DEK that is open, one that is opened again counts once: a
  // call that was on its way while its DEK was opened asks for it again.
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
  grpc::Status SealUnder(grpc::ServerContext*, const wire::v1::SealUnderRequest* request,
                         wire::v1::SealUnderReply* reply) override;
  grpc::Status Configure(grpc::ServerContext*, const wire::v1::ConfigureRequest* request,
                         wire::v1::ConfigureReply* reply) override;
  grpc::Status KeysInUse(grpc::ServerContext*, const wire::v1::KeysInUseRequest* request,
                         wire::v1::KeysInUseReply* reply) override;
  grpc::Status Forget(grpc::ServerContext*, const wire::v1::ForgetRequest* request,
                      wire::v1::ForgetReply* reply) override;
  grpc::Status Probe(grpc::ServerContext*, const wire::v1::ProbeRequest*,
                     wire::v1::ProbeReply* reply) override;
  grpc::Status Session(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<wire::v1::ReplyFrame, wire::v1::RequestFrame>* stream) override;

  bool Answer(const RequestBatch& requests, ReplyBatch& replies) BULLA_EXCLUDES(mutex_);
  void DescribeSealingDek(wire::v1::SealingDek& out) const;

  const BootId boot_id_ = BootId::New({});
  const DekId sealing_dek_ = DekId::New({});
  std::atomic<int> sealing_deks_obtained_{0};
  std::atomic<int> sealed_under_{0};
  std::atomic<int> deks_opened_{0};
  std::atomic<int> blobs_loaded_{0};
  std::atomic<int> frames_{0};
  std::atomic<int> unlocks_to_fail_{0};
  std::atomic<int> unlocks_begun_{0};
  std::atomic<int> policies_asked_{0};
  std::atomic<int> probes_{0};

  mutable Mutex mutex_;
  CondVar released_;
  bool holding_unlocks_ BULLA_GUARDED_BY(mutex_) = false;
  std::optional<UnlockCause> unlock_refusal_ BULLA_GUARDED_BY(mutex_);
  std::vector<KeyId> forgotten_ BULLA_GUARDED_BY(mutex_);
  wire::v1::ProbeReply probe_ BULLA_GUARDED_BY(mutex_);
  KeyPolicy key_policy_ BULLA_GUARDED_BY(mutex_) = NothingWanted();
  std::optional<std::string> policy_refusal_ BULLA_GUARDED_BY(mutex_);
  Script script_ BULLA_GUARDED_BY(mutex_);
  std::string store_id_ BULLA_GUARDED_BY(mutex_);
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
