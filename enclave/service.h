#pragma once

// The enclave's side of enclave.proto: who is there, data keys, policy, sessions, counters.

#include <string>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "enclave/dek_table.h"
#include "enclave/key_cache.h"
#include "enclave/key_operations.h"
#include "enclave/workers.h"
#include "http2/grpc_server.h"
#include "kms/kms_client.h"
#include "wire/enclave.pb.h"
#include "wire/enclave_report.h"

namespace bulla {

// Thread-safe. Calls to KMS run on threads of its own, so that a slow KMS holds up nothing else.
class EnclaveService final {
 public:
  // The parts it serves; they outlive it.
  struct Parts {
    Workers& workers;
    KeyOperations& operations;
    KeyCache& cache;
    DekTable& deks;
    KmsClient& kms;
    const Clock& clock;
  };

  EnclaveService(Parts parts, std::string platform, std::size_t worker_count);
  ~EnclaveService();

  // What it serves, by path. It outlives them.
  void AddTo(http2::GrpcMethods& methods);

 private:
  // An Unlock call waiting for a thread.
  struct UnlockCall {
    wire::v1::UnlockRequest request;
    http2::GrpcServer::Later answer;
    http2::StreamId stream;
    MonotonicTime deadline;
  };

  // Each fills in the reply, or says why not.
  absl::Status Hello(const wire::v1::HelloRequest& request, wire::v1::HelloReply& reply)
      BULLA_EXCLUDES(sealing_mutex_);
  absl::Status SealUnder(const wire::v1::SealUnderRequest& request, wire::v1::SealUnderReply&)
      BULLA_EXCLUDES(sealing_mutex_);
  absl::Status Configure(const wire::v1::ConfigureRequest& request, wire::v1::ConfigureReply& reply)
      BULLA_EXCLUDES(policy_mutex_);
  absl::Status KeysInUse(const wire::v1::KeysInUseRequest& request,
                         wire::v1::KeysInUseReply& reply);
  absl::Status Forget(const wire::v1::ForgetRequest& request, wire::v1::ForgetReply&);
  absl::Status Probe(const wire::v1::ProbeRequest&, wire::v1::ProbeReply& reply);
  // Answered by a thread that may wait for KMS.
  void Unlock(http2::GrpcServer& server, const http2::GrpcRequest& call, ByteSpan message);

  template <typename Request, typename Reply>
  void AddUnary(http2::GrpcMethods& methods, const char* name,
                absl::Status (EnclaveService::*method)(const Request&, Reply&));

  absl::Status RunUnlockBlocking(const UnlockCall& call, wire::v1::UnlockReply& reply);
  absl::Status ObtainSealingDekBlocking(const UnlockCall& call, wire::v1::UnlockReply& reply)
      BULLA_EXCLUDES(sealing_mutex_);
  absl::Status MakeSealingDekBlocking(const UnlockCall& call);
  absl::Status OpenDekBlocking(const UnlockCall& call);
  // Tightens the image's policy to what is wanted, and says what is in force then.
  absl::Status ApplyPolicy(const PolicySettings& wanted, PolicySettings& in_force)
      BULLA_EXCLUDES(policy_mutex_);
  void RunUnlocks();
  EnclaveReport ReportAt(MonotonicTime now) const;

  Parts parts_;
  const BootId boot_id_;
  const std::string platform_;
  const std::uint32_t worker_count_;
  const MonotonicTime started_;

  const KeyPolicy image_policy_;
  Mutex policy_mutex_;  // one change at a time

  Mutex sealing_mutex_;
  bool obtaining_sealing_dek_ BULLA_GUARDED_BY(sealing_mutex_) = false;
  // What the gateway says, and for gateways: which store has the keys that are made here.
  std::string store_id_ BULLA_GUARDED_BY(sealing_mutex_);

  BoundedQueue<UnlockCall> unlocks_;
  std::vector<std::thread> unlock_threads_;
};

}  // namespace bulla
