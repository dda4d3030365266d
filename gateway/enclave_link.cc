#include "gateway/enclave_link.h"

#include <algorithm>
#include <fmt/format.h>
#include <future>
#include <grpcpp/create_channel_posix.h>
#include <utility>

#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "gateway/call_list.h"
#include "gateway/credentials.h"
#include "wire/grpc_callbacks.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDialTimeout{1000};
constexpr milliseconds kHelloTimeout{2000};
constexpr milliseconds kUnlockTimeout{10'000};  // KMS's own connect timeout is 3 s
constexpr milliseconds kStoreTimeout{10'000};
constexpr milliseconds kProbeTimeout{2000};
constexpr milliseconds kConfigureTimeout{2000};
// Spec S2: a lost connection is back in 200 ms. So the longest wait between two tries is below
// that.
constexpr milliseconds kReconnectMin{10};
constexpr milliseconds kReconnectMax{150};

absl::Status FromGrpc(std::string_view what, const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return {static_cast<absl::StatusCode>(status.error_code()),
          fmt::format("{}: {}", what, ShownText(status.error_message()))};
}

// Whether the call came to the enclave's code at all, whatever that then said.
bool IsAnswer(const grpc::Status& status) {
  return status.error_code() != grpc::StatusCode::UNAVAILABLE &&
         status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED &&
         status.error_code() != grpc::StatusCode::CANCELLED;
}

void SetDeadline(grpc::ClientContext& context, milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

// With the credentials that are in the file now.
absl::StatusOr<wire::v1::UnlockRequest> NewUnlockRequest(const std::string& credentials_file) {
  BULLA_ASSIGN_OR_RETURN(ParentCredentials credentials, ReadCredentials(credentials_file));
  wire::v1::UnlockRequest request;
  request.mutable_credentials()->set_access_key_id(credentials.access_key_id);
  request.mutable_credentials()->set_secret_access_key(credentials.secret_access_key);
  request.mutable_credentials()->set_session_token(credentials.session_token);
  return request;
}

// Exponential, with a jitter of half of it.
milliseconds Backoff(int attempt) {
  auto step = std::min(kReconnectMin * (1 << std::min(attempt, 10)), kReconnectMax);
  return step / 2 + milliseconds(RandomUint64() % static_cast<std::uint64_t>(step.count() / 2 + 1));
}

}  // namespace

EnclaveLink::EnclaveLink(Options options, LinkEvents& events, KeyStore& store, const Clock& clock)
    : options_(std::move(options)),
      events_(events),
      store_(store),
      clock_(clock),
      batcher_(options_.batch),
      limit_({.max = options_.streams * EnclaveStream::kSlotsMax,
              .wait_max = options_.batch.queue_wait_max}),
      key_policy_(options_.key_policy),
      streams_(std::make_shared<const Streams>()) {
  status_.address = name();
  KeepGrpcCallbackThreads();
}

EnclaveLink::~EnclaveLink() { Stop(); }

void EnclaveLink::Start() {
  thread_ = StartThread(fmt::format("link-{}", options_.index), [this] { Run(); });
}

void EnclaveLink::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
  SignCall* left = nullptr;
  {
    MutexLock lock(batch_mutex_);
    left = batcher_.TakeAll();
  }
  FailAll(left, ErrorCode::kUnavailable);
}

void EnclaveLink::Run() {
  for (int attempt = 0; !stopping();) {
    absl::Status lost = ConnectBlocking();
    if (lost.ok()) {
      attempt = 0;
      events_.OnLinkReady(*this);
      ready_.store(true, std::memory_order_release);
      LogInfo("enclave_ready", {{"enclave", name()}});
      lost = SuperviseBlocking();
    }
    Disconnect();
    events_.OnLinkLost(*this);
    if (stopping()) break;
    if (attempt == 0) LogWarn("enclave_lost", {{"enclave", name()}, {"reason", lost.ToString()}});
    {
      MutexLock lock(mutex_);
      status_.last_error = lost.ToString();
      ++status_.reconnects;
    }
    WaitFor(Backoff(attempt++));
  }
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> EnclaveLink::DialChannelBlocking() {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, DialBlocking(options_.address, kDialTimeout));
  grpc::ChannelArguments arguments;
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "enclave");
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Nothing to find out: both ends are on one machine, and a frame is smaller than any window.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomInsecureChannelFromFd("enclave", fd.Release(), arguments);
}

absl::Status EnclaveLink::ConnectBlocking() {
  BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, DialChannelBlocking());
  {
    MutexLock lock(mutex_);
    control_ = wire::v1::Enclave::NewStub(channel);
  }
  BULLA_ASSIGN_OR_RETURN(wire::v1::HelloReply hello, HelloBlocking());
  BULLA_RETURN_IF_ERROR(ConfigureBlocking());
  BULLA_RETURN_IF_ERROR(hello.has_sealing_dek() ? StoreSealingDekBlocking(hello.sealing_dek())
                                                : EnsureSealingDekBlocking());
  return OpenStreamsBlocking();
}

absl::StatusOr<wire::v1::HelloReply> EnclaveLink::HelloBlocking() {
  grpc::ClientContext context;
  SetDeadline(context, kHelloTimeout);
  wire::v1::HelloRequest request;
  wire::v1::HelloReply reply;
  request.set_protocol_version(kWireProtocolVersion);
  BULLA_RETURN_IF_ERROR(FromGrpc("hello", control()->Hello(&context, request, &reply)));
  if (reply.protocol_version() != kWireProtocolVersion ||
      reply.boot_id().size() != BootId::kBytes) {
    return absl::FailedPreconditionError("hello: the enclave answers in another protocol");
  }
  MutexLock lock(mutex_);
  status_.boot_id = BootId::FromBytes(AsBytes(reply.boot_id())).ToString();
  status_.platform = ShownText(reply.platform());
  return reply;
}

// Also when nothing is wanted: the enclave may still have what an earlier gateway asked for.
absl::Status EnclaveLink::ConfigureBlocking() {
  wire::v1::ConfigureRequest request;
  {
    MutexLock lock(mutex_);
    policy_changed_ = false;
    EncodeKeyPolicy(key_policy_, *request.mutable_settings());
  }
  grpc::ClientContext context;
  SetDeadline(context, kConfigureTimeout);
  wire::v1::ConfigureReply reply;
  grpc::Status status = control()->Configure(&context, request, &reply);
  if (!status.ok() && !IsAnswer(status)) return FromGrpc("key policy", status);
  std::string refused = status.ok() ? "" : ShownText(status.error_message());
  if (!status.ok() && refused.empty()) {
    // Not a refusal of ours, which names the setting: an enclave that knows no Configure, say.
    refused = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
  }
  if (!status.ok()) LogError("key_policy_refused", {{"enclave", name()}, {"reason", refused}});
  MutexLock lock(mutex_);
  status_.policy_refused = std::move(refused);
  return absl::OkStatus();
}

absl::Status EnclaveLink::EnsureSealingDekBlocking() {
  BULLA_ASSIGN_OR_RETURN(wire::v1::UnlockRequest request,
                         NewUnlockRequest(options_.credentials_file));
  request.set_new_sealing_dek(true);
  grpc::ClientContext context;
  SetDeadline(context, kUnlockTimeout);
  wire::v1::UnlockReply reply;
  BULLA_RETURN_IF_ERROR(FromGrpc("sealing key", control()->Unlock(&context, request, &reply)));
  return StoreSealingDekBlocking(reply.sealing_dek());
}

// No key is made under a DEK before its row is durable: the link is not ready until then.
absl::Status EnclaveLink::StoreSealingDekBlocking(const wire::v1::SealingDek& dek) {
  if (dek.dek_id().size() != DekId::kBytes || dek.wrapped().empty()) {
    return absl::InvalidArgumentError("sealing key: the enclave sent none");
  }
  auto stored = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> result = stored->get_future();
  store_.PutDek({.dek_id = DekId::FromBytes(AsBytes(dek.dek_id())),
                 .wrapped = Bytes(dek.wrapped().begin(), dek.wrapped().end()),
                 .kms_key_id = dek.kms_key_id(),
                 .created_at = clock_.WallNow()},
                [stored](absl::Status status) { stored->set_value(std::move(status)); });
  if (result.wait_for(kStoreTimeout) != std::future_status::ready) {
    return absl::DeadlineExceededError("sealing key: the store does not answer");
  }
  return result.get();
}

absl::Status EnclaveLink::OpenStreamsBlocking() {
  auto opened = std::make_shared<Streams>();
  for (std::size_t i = 0; i < options_.streams; ++i) {
    absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = DialChannelBlocking();
    if (!channel.ok()) {
      for (const auto& stream : *opened) stream->Close();
      return channel.status();
    }
    {
      MutexLock lock(mutex_);
      ++streams_alive_;
    }
    opened->push_back(
        EnclaveStream::Open(*std::move(channel), *this, clock_, options_.batch.size_max));
  }
  MutexLock lock(mutex_);
  streams_ = std::move(opened);
  return absl::OkStatus();
}

absl::Status EnclaveLink::SuperviseBlocking() {
  while (true) {
    BULLA_RETURN_IF_ERROR(ProbeBlocking());
    bool policy_changed = false;
    {
      MutexLock lock(mutex_);
      changed_.WaitFor(mutex_, options_.probe_interval, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS {
        return stopping_ || stream_closed_ || policy_changed_;
      });
      if (stopping_) return absl::CancelledError("stopping");
      if (stream_closed_) return absl::UnavailableError("a stream was closed");
      policy_changed = policy_changed_;
    }
    if (policy_changed) BULLA_RETURN_IF_ERROR(ConfigureBlocking());
  }
}

absl::Status EnclaveLink::ProbeBlocking() {
  grpc::ClientContext context;
  SetDeadline(context, kProbeTimeout);
  wire::v1::ProbeReply reply;
  BULLA_RETURN_IF_ERROR(FromGrpc("probe", control()->Probe(&context, {}, &reply)));
  {
    MutexLock lock(mutex_);
    EnclaveReport report = DecodeReport(reply);
    status_.worker_busy_ratio = status_.report ? WorkerBusyRatio(*status_.report, report) : 0;
    status_.report = std::move(report);
  }
  std::vector<DekId> deks = DecodeDeksToRenew(reply);
  if (!deks.empty()) events_.OnDeksToRenew(*this, deks);
  return absl::OkStatus();
}

void EnclaveLink::Disconnect() {
  ready_.store(false, std::memory_order_release);
  std::shared_ptr<const Streams> closing;
  {
    MutexLock lock(mutex_);
    closing = std::exchange(streams_, std::make_shared<const Streams>());
    control_.reset();
  }
  for (const auto& stream : *closing) stream->Close();
  MutexLock lock(mutex_);
  changed_.Wait(mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS {
    return streams_alive_ == 0 && unlocks_under_way_ == 0;
  });
  stream_closed_ = false;
}

void EnclaveLink::OnStreamClosed() {
  // Notified under the lock: after it, Stop() may return and this object go.
  MutexLock lock(mutex_);
  stream_closed_ = true;
  --streams_alive_;
  changed_.NotifyAll();
}

void EnclaveLink::Sign(SignCall* first) {
  const MonotonicTime now = clock_.Now();
  const std::size_t asked = CountCalls(first);
  {
    MutexLock lock(batch_mutex_);
    const std::size_t admitted = limit_.Admit(asked, batcher_.held(), now);
    for (std::size_t i = 0; i < admitted; ++i) batcher_.Add(PopFirst(first), now);
    refused_over_limit_ += asked - admitted;
  }
  FailAll(first, ErrorCode::kRetryLater);
  const MonotonicTime due = SendDue(now);
  if (due != MonotonicTime::max()) events_.OnWaiting(due);
}

MonotonicTime EnclaveLink::SendDue(MonotonicTime now) {
  for (;;) {
    SignCall* frame = nullptr;
    {
      MutexLock lock(batch_mutex_);
      frame = batcher_.Take(now);
      if (frame == nullptr) return batcher_.waiting() ? batcher_.due_at() : MonotonicTime::max();
    }
    SendFrame(frame);
  }
}

// Streams are filled in order: the first that has few requests in flight takes the frame. So at low
// load all frames share one stream, and under load more streams join in.
void EnclaveLink::SendFrame(SignCall* first) {
  std::shared_ptr<const Streams> open = streams();
  for (std::size_t in_flight_max : {kFrameSignsMax, EnclaveStream::kSlotsMax}) {
    for (const auto& stream : *open) {
      if (first == nullptr) return;
      if (stream->in_flight() < in_flight_max) first = stream->Sign(first);
    }
  }
  const std::size_t refused = CountCalls(first);
  if (refused == 0) return;
  const bool gone =
      std::all_of(open->begin(), open->end(), [](const auto& stream) { return stream->closed(); });
  FailAll(first, gone ? ErrorCode::kUnavailable : ErrorCode::kRetryLater);
  MutexLock lock(batch_mutex_);
  batcher_.Answered(refused);
}

void EnclaveLink::OnAnswered(std::size_t count, MonotonicTime oldest) {
  const MonotonicTime now = clock_.Now();
  {
    MutexLock lock(batch_mutex_);
    batcher_.Answered(count);
    limit_.OnAnswered(count, oldest, batcher_.held(), now);
    if (!batcher_.waiting()) return;
  }
  // What is left may be due sooner than it was.
  const MonotonicTime due = SendDue(now);
  if (due != MonotonicTime::max()) events_.OnWaiting(due);
}

bool EnclaveLink::SignWithBlob(SignCall* call, Bytes blob) {
  std::shared_ptr<const Streams> open = streams();
  {
    MutexLock lock(batch_mutex_);
    batcher_.Sent(1);  // before it can be answered
  }
  if (std::any_of(open->begin(), open->end(),
                  [&](const auto& stream) { return stream->SignWithBlob(call, blob); })) {
    return true;
  }
  MutexLock lock(batch_mutex_);
  batcher_.Answered(1);
  return false;
}

bool EnclaveLink::Create(const KeyId& key_id, MonotonicTime deadline,
                         EnclaveStream::CreateDone done) {
  std::shared_ptr<const Streams> open = streams();
  return std::any_of(open->begin(), open->end(),
                     [&](const auto& stream) { return stream->Create(key_id, deadline, done); });
}

void EnclaveLink::OpenDek(const DekRow& dek, std::function<void(absl::Status)> done) {
  struct Call {
    std::shared_ptr<wire::v1::Enclave::Stub> control;
    grpc::ClientContext context;
    wire::v1::UnlockRequest request;
    wire::v1::UnlockReply reply;
  };
  auto call = std::make_shared<Call>();
  absl::StatusOr<wire::v1::UnlockRequest> request = NewUnlockRequest(options_.credentials_file);
  if (!request.ok()) return done(request.status());
  call->request = *std::move(request);
  {
    MutexLock lock(mutex_);
    call->control = control_;
    if (call->control != nullptr) ++unlocks_under_way_;
  }
  if (call->control == nullptr) return done(absl::UnavailableError("the enclave is not connected"));

  SetDeadline(call->context, kUnlockTimeout);
  call->request.mutable_open()->set_dek_id(dek.dek_id.bytes.data(), DekId::kBytes);
  call->request.mutable_open()->set_wrapped(dek.wrapped.data(), dek.wrapped.size());
  call->control->async()->Unlock(&call->context, &call->request, &call->reply,
                                 [this, call, done = std::move(done)](grpc::Status status) {
                                   done(FromGrpc("unlock", status));
                                   MutexLock lock(mutex_);
                                   --unlocks_under_way_;
                                   changed_.NotifyAll();
                                 });
}

void EnclaveLink::SetKeyPolicy(const KeyPolicy& policy) {
  // Notified under the lock: see OnStreamClosed().
  MutexLock lock(mutex_);
  key_policy_ = policy;
  policy_changed_ = true;
  changed_.NotifyAll();
}

void EnclaveLink::Expire(MonotonicTime now) {
  const std::shared_ptr<const Streams> open = streams();  // held: the link may close meanwhile
  for (const auto& stream : *open) stream->Expire(now);
}

EnclaveLink::Status EnclaveLink::status() const {
  std::shared_ptr<const Streams> open = streams();
  Status status;
  {
    MutexLock lock(mutex_);
    status = status_;
  }
  status.ready = ready();
  {
    MutexLock lock(batch_mutex_);
    status.in_flight_max = limit_.limit();
    status.refused_over_in_flight_max = refused_over_limit_;
  }
  for (const auto& stream : *open) {
    status.streams_open += stream->closed() ? 0 : 1;
    status.in_flight += stream->in_flight();
  }
  return status;
}

std::shared_ptr<const EnclaveLink::Streams> EnclaveLink::streams() const {
  MutexLock lock(mutex_);
  return streams_;
}

void EnclaveLink::WaitFor(milliseconds time) {
  MutexLock lock(mutex_);
  changed_.WaitFor(mutex_, time, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return stopping_; });
}

std::shared_ptr<wire::v1::Enclave::Stub> EnclaveLink::control() const {
  MutexLock lock(mutex_);
  return control_;
}

bool EnclaveLink::stopping() const {
  MutexLock lock(mutex_);
  return stopping_;
}

}  // namespace bulla
