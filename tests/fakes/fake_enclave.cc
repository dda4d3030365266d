#include "tests/fakes/fake_enclave.h"

#include <algorithm>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"
#include "tests/fakes/accept.h"

namespace bulla {

Bytes FakeBlob(const KeyId& key_id, const DekId& dek_id) {
  Bytes blob(key_id.bytes.begin(), key_id.bytes.end());
  blob.insert(blob.end(), dek_id.bytes.begin(), dek_id.bytes.end());
  return blob;
}

RecoverableSignature FakeEnclave::SignatureOf(const Digest32& digest) {
  RecoverableSignature signature;
  std::copy(digest.begin(), digest.end(), signature.rs.begin());
  signature.recovery_id = 1;
  return signature;
}

FakeEnclave::FakeEnclave(const Address& address) : wake_(::eventfd(0, EFD_CLOEXEC)) {
  absl::StatusOr<UniqueFd> listener = Listen(address);
  BULLA_CHECK(listener.ok(), "the fake enclave's address is free");
  listener_ = *std::move(listener);
  grpc::ServerBuilder builder;
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  acceptor_ = StartThread("fake-acceptor", [this] {
    while (true) {
      UniqueFd fd = AcceptBlocking(listener_.get(), wake_.get());
      if (!fd.valid()) return;
      {
        MutexLock lock(mutex_);
        connections_.insert(::dup(fd.get()));
      }
      grpc::AddInsecureChannelFromFd(server_.get(), fd.Release());
    }
  });
}

FakeEnclave::~FakeEnclave() {
  std::uint64_t one = 1;
  BULLA_CHECK(::write(wake_.get(), &one, sizeof(one)) == sizeof(one), "the acceptor is woken");
  acceptor_.join();
  {
    MutexLock lock(mutex_);
    for (int fd : connections_) {
      ::shutdown(fd, SHUT_RDWR);
      ::close(fd);
    }
  }
  HoldUnlocks(false);
  server_->Shutdown(RealClock().WallNow());
}

void FakeEnclave::SetScript(Script script) {
  MutexLock lock(mutex_);
  script_ = std::move(script);
}

void FakeEnclave::HoldUnlocks(bool hold) {
  MutexLock lock(mutex_);
  holding_unlocks_ = hold;
  released_.NotifyAll();
}

void FakeEnclave::RefuseUnlocks(std::optional<UnlockCause> cause) {
  MutexLock lock(mutex_);
  unlock_refusal_ = cause;
}

bool FakeEnclave::Has(const KeyId& key_id) const {
  MutexLock lock(mutex_);
  return keys_.contains(key_id);
}

std::vector<KeyId> FakeEnclave::forgotten() const {
  MutexLock lock(mutex_);
  return forgotten_;
}

void FakeEnclave::SetProbe(wire::v1::ProbeReply reply) {
  MutexLock lock(mutex_);
  probe_ = std::move(reply);
}

void FakeEnclave::RefusePolicies(std::optional<std::string> message) {
  MutexLock lock(mutex_);
  policy_refusal_ = std::move(message);
}

KeyPolicy FakeEnclave::key_policy() const {
  MutexLock lock(mutex_);
  return key_policy_;
}

void FakeEnclave::DescribeSealingDek(wire::v1::SealingDek& out) const {
  out.set_dek_id(sealing_dek_.bytes.data(), DekId::kBytes);
  out.set_wrapped("wrapped");
  out.set_kms_key_id("arn:aws:kms:eu-central-1:000000000000:key/fake");
}

grpc::Status FakeEnclave::Hello(grpc::ServerContext*, const wire::v1::HelloRequest*,
                                wire::v1::HelloReply* reply) {
  reply->set_protocol_version(kWireProtocolVersion);
  reply->set_boot_id(boot_id_.bytes.data(), BootId::kBytes);
  reply->set_platform(std::string(kNitro));
  if (sealing_deks_obtained_ > 0) DescribeSealingDek(*reply->mutable_sealing_dek());
  MutexLock lock(mutex_);
  reply->set_store_id(store_id_);
  return grpc::Status::OK;
}

grpc::Status FakeEnclave::Unlock(grpc::ServerContext*, const wire::v1::UnlockRequest* request,
                                 wire::v1::UnlockReply* reply) {
  if (!request->new_sealing_dek()) {
    ++unlocks_begun_;
    MutexLock lock(mutex_);
    released_.Wait(mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return !holding_unlocks_; });
  }
  {
    MutexLock lock(mutex_);
    if (unlock_refusal_) {
      return {grpc::StatusCode::PERMISSION_DENIED, "KMS says no", EncodeCause(*unlock_refusal_)};
    }
  }
  if (unlocks_to_fail_ > 0) {
    --unlocks_to_fail_;
    return {grpc::StatusCode::UNAVAILABLE, "KMS is away"};
  }
  if (request->new_sealing_dek()) {
    ++sealing_deks_obtained_;
    DescribeSealingDek(*reply->mutable_sealing_dek());
    return grpc::Status::OK;
  }
  MutexLock lock(mutex_);
  if (deks_.insert(DekId::FromBytes(AsBytes(request->open().dek_id()))).second) ++deks_opened_;
  return grpc::Status::OK;
}

grpc::Status FakeEnclave::SealUnder(grpc::ServerContext*, const wire::v1::SealUnderRequest* request,
                                    wire::v1::SealUnderReply*) {
  if (sealing_deks_obtained_ == 0 || DekId::FromBytes(AsBytes(request->dek_id())) != sealing_dek_) {
    return {grpc::StatusCode::FAILED_PRECONDITION, "another data key"};
  }
  ++sealed_under_;
  MutexLock lock(mutex_);
  store_id_ = request->store_id();
  return grpc::Status::OK;
}

grpc::Status FakeEnclave::Configure(grpc::ServerContext*, const wire::v1::ConfigureRequest* request,
                                    wire::v1::ConfigureReply* reply) {
  ++policies_asked_;
  absl::StatusOr<KeyPolicy> policy = DecodeKeyPolicy(request->settings());
  MutexLock lock(mutex_);
  if (!policy.ok() || policy_refusal_) {
    return {grpc::StatusCode::INVALID_ARGUMENT,
            policy.ok() ? *policy_refusal_ : std::string(policy.status().message())};
  }
  key_policy_ = *policy;
  *reply->mutable_settings() = request->settings();
  return grpc::Status::OK;
}

// In two parts, by the last bit.
grpc::Status FakeEnclave::KeysInUse(grpc::ServerContext*, const wire::v1::KeysInUseRequest* request,
                                    wire::v1::KeysInUseReply* reply) {
  MutexLock lock(mutex_);
  reply->set_parts(2);
  for (const KeyId& id : keys_) {
    if (id.bytes[15] % 2 == request->part()) reply->mutable_key_ids()->append(AsText(id.bytes));
  }
  return grpc::Status::OK;
}

grpc::Status FakeEnclave::Forget(grpc::ServerContext*, const wire::v1::ForgetRequest* request,
                                 wire::v1::ForgetReply*) {
  const ByteSpan ids = AsBytes(request->key_ids());
  MutexLock lock(mutex_);
  for (std::size_t at = 0; at < ids.size(); at += KeyId::kBytes) {
    forgotten_.push_back(KeyId::FromBytes(ids.subspan(at, KeyId::kBytes)));
    keys_.erase(forgotten_.back());
  }
  return grpc::Status::OK;
}

grpc::Status FakeEnclave::Probe(grpc::ServerContext*, const wire::v1::ProbeRequest*,
                                wire::v1::ProbeReply* reply) {
  ++probes_;
  MutexLock lock(mutex_);
  *reply = probe_;
  return grpc::Status::OK;
}

grpc::Status FakeEnclave::Session(
    grpc::ServerContext*,
    grpc::ServerReaderWriter<wire::v1::ReplyFrame, wire::v1::RequestFrame>* stream) {
  wire::v1::RequestFrame request;
  while (stream->Read(&request)) {
    ++frames_;
    RequestBatch requests;
    ReplyBatch replies;
    if (!DecodeRequest(request, requests).ok() || !Answer(requests, replies)) {
      return {grpc::StatusCode::INTERNAL, "scripted"};
    }
    wire::v1::ReplyFrame reply;
    EncodeReply(replies, reply);
    if (!replies.empty()) stream->Write(reply);
  }
  return grpc::Status::OK;
}

bool FakeEnclave::Answer(const RequestBatch& requests, ReplyBatch& replies) {
  MutexLock lock(mutex_);
  if (script_) return script_(requests, replies);
  for (const Bytes& blob : requests.loads) {
    ++blobs_loaded_;
    keys_.insert(KeyId::FromBytes(ByteSpan(blob).first(16)));
    deks_.insert(sealing_dek_);
    if (!deks_.contains(DekId::FromBytes(ByteSpan(blob).last(16)))) {
      keys_.erase(KeyId::FromBytes(ByteSpan(blob).first(16)));
      for (const SignItem& item : requests.signs) {
        replies.signs.push_back({.sequence = item.sequence, .status = ItemStatus::kNeedDek});
      }
      return true;
    }
  }
  for (const SignItem& item : requests.signs) {
    bool known = keys_.contains(item.key_id);
    replies.signs.push_back(
        {.sequence = item.sequence,
         .status = known ? ItemStatus::kOk : ItemStatus::kNeedBlob,
         .signature = known ? SignatureOf(item.digest) : RecoverableSignature{}});
  }
  for (const CreateItem& item : requests.creates) {
    keys_.insert(item.key_id);
    CreateReply created{.sequence = item.sequence, .status = ItemStatus::kOk};
    created.dek_id = sealing_dek_;
    created.blob = FakeBlob(item.key_id, sealing_dek_);
    created.address = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
    replies.creates.push_back(std::move(created));
  }
  return true;
}

}  // namespace bulla
