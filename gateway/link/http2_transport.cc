#include "gateway/link/http2_transport.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "base/fd.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/unlock_cause.h"
#include "http2/connection.h"
#include "http2/grpc_client.h"
#include "wire/enclave.pb.h"
#include "wire/enclave_report.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using http2::GrpcClient;
using http2::GrpcStatus;

constexpr std::chrono::milliseconds kDialTimeout{1000};
constexpr unsigned kCpusPerLoop = 8;

http2::Session::Options SessionOptions() {
  http2::Session::Options options;
  options.role = http2::Session::Role::kClient;
  // A frame of answers has two kilobytes, and a stream's 256 calls make eight such frames.
  options.stream_window_bytes = 256 * 1024;
  // An answer of 4 MiB beside others.
  options.memory_bytes_max = 8 * 1024 * 1024;
  options.keepalive_interval = std::chrono::milliseconds(5000);
  options.keepalive_timeout = std::chrono::milliseconds(2000);
  return options;
}

absl::Status FromGrpc(const GrpcStatus& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status failed(status.code, ShownText(status.message));
  if (status.details.empty()) return failed;
  return WithCause(std::move(failed), DecodeCause(status.details));
}

std::string PathOf(std::string_view method) {
  return fmt::format("/bulla.wire.v1.Enclave/{}", method);
}

// A gRPC client on a connection, both on their loop. Confined to its thread.
class Client {
 public:
  Client(asio::io_context& io, UniqueFd fd, const Clock& clock) {
    auto client = std::make_unique<GrpcClient>(GrpcClient::Options{.authority = "enclave"});
    grpc_ = client.get();
    connection_ =
        http2::Connection::Start(io, std::move(fd), clock, SessionOptions(), std::move(client));
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { Close(); }

  GrpcClient& grpc() { return *grpc_; }
  void Close() { connection_->Close(absl::CancelledError("disconnected")); }

 private:
  std::shared_ptr<http2::Connection> connection_;
  GrpcClient* grpc_ = nullptr;  // the connection's
};

// ---- Frames ----------------------------------------------------------------------------------

// The session's stream. Its functions are called on the loop's thread, but for those that say
// otherwise; it lives until the last of them has been.
class FrameStream final : public http2::GrpcCallEvents,
                          public std::enable_shared_from_this<FrameStream> {
 public:
  FrameStream(asio::io_context& io, UniqueFd fd, const Clock& clock)
      : io_(io), clock_(clock), fd_(std::move(fd)) {}

  // Any thread. On the loop's own the write is done at once and leaves with this turn.
  void PostStart(FrameEvents& events) {
    asio::post(io_, [self = shared_from_this(), &events] { self->Start(events); });
  }
  void PostWrite(const RequestBatch& batch) {
    EncodeRequest(batch, outgoing_);
    outgoing_bytes_.clear();
    outgoing_.AppendToString(&outgoing_bytes_);
    asio::dispatch(io_, [self = shared_from_this()] { self->Write(); });
  }
  void PostClose() {
    asio::post(io_, [self = shared_from_this()] {
      if (self->client_) self->client_->Close();
    });
  }
  void PostFinish() {
    asio::post(io_, [self = shared_from_this()] {
      self->client_.reset();
      self->events_->OnClosed();
    });
  }

 private:
  void Start(FrameEvents& events) {
    events_ = &events;
    client_ = std::make_unique<Client>(io_, std::move(fd_), clock_);
    stream_ = client_->grpc().Start(PathOf("Session"), std::nullopt, clock_.Now(), *this);
    if (writing_) Write();
  }
  void Write() {
    writing_ = true;
    if (broken_) return WriteIsDone(false);
    if (stream_) client_->grpc().Write(*stream_, AsBytes(outgoing_bytes_));
  }
  void WriteIsDone(bool ok) {
    if (std::exchange(writing_, false)) events_->OnWriteDone(ok);
  }

  void OnMessage(ByteSpan message) override {
    absl::Status decoded =
        incoming_.ParseFromArray(message.data(), static_cast<int>(message.size()))
            ? DecodeReply(incoming_, replies_)
            : absl::InvalidArgumentError("reply frame: is no protobuf");
    if (decoded.ok()) return events_->OnReplies(replies_);
    LogError("reply_frame_refused", {{"reason", std::string(decoded.message())}});
    client_->grpc().Cancel(*stream_);
  }
  void OnWritten() override { WriteIsDone(true); }
  void OnDone(const GrpcStatus&) override {
    broken_ = true;
    if (client_) client_->Close();
    events_->OnBroken();
    WriteIsDone(false);
  }

  asio::io_context& io_;
  const Clock& clock_;
  UniqueFd fd_;  // until Start()
  FrameEvents* events_ = nullptr;
  std::unique_ptr<Client> client_;
  std::optional<http2::StreamId> stream_;
  bool writing_ = false;
  bool broken_ = false;
  // Of the write under way: its caller's until it is posted, the loop's from there.
  wire::v1::RequestFrame outgoing_;
  std::string outgoing_bytes_;
  // Of the message that is being told.
  wire::v1::ReplyFrame incoming_;
  ReplyBatch replies_;
};

class Http2FrameConnection final : public FrameConnection {
 public:
  explicit Http2FrameConnection(std::shared_ptr<FrameStream> stream) : stream_(std::move(stream)) {}

  void Start(FrameEvents& events) override { stream_->PostStart(events); }
  void Write(const RequestBatch& batch) override { stream_->PostWrite(batch); }
  void Close() override { stream_->PostClose(); }
  void Finish() override { stream_->PostFinish(); }

 private:
  const std::shared_ptr<FrameStream> stream_;
};

// ---- Calls -----------------------------------------------------------------------------------

class Http2ControlConnection final : public ControlConnection {
 public:
  Http2ControlConnection(asio::io_context& io, UniqueFd fd, const Clock& clock)
      : io_(io), clock_(clock), calls_(std::make_shared<Calls>()) {
    asio::post(io_, [&io, fd = std::move(fd), &clock, calls = calls_]() mutable {
      calls->client.emplace(io, std::move(fd), clock);
    });
  }
  ~Http2ControlConnection() override { CancelAll(); }

  void Hello(const wire::v1::HelloRequest& request, Timeout timeout,
             Done<wire::v1::HelloReply> done) override {
    Call("Hello", request, timeout, std::move(done));
  }
  void Unlock(const wire::v1::UnlockRequest& request, Timeout timeout,
              Done<wire::v1::UnlockReply> done) override {
    Call("Unlock", request, timeout, std::move(done));
  }
  void SealUnder(const wire::v1::SealUnderRequest& request, Timeout timeout,
                 Done<wire::v1::SealUnderReply> done) override {
    Call("SealUnder", request, timeout, std::move(done));
  }
  void Configure(const wire::v1::ConfigureRequest& request, Timeout timeout,
                 Done<wire::v1::ConfigureReply> done) override {
    Call("Configure", request, timeout, std::move(done));
  }
  void KeysInUse(const wire::v1::KeysInUseRequest& request, Timeout timeout,
                 Done<wire::v1::KeysInUseReply> done) override {
    Call("KeysInUse", request, timeout, std::move(done));
  }
  void Forget(const wire::v1::ForgetRequest& request, Timeout timeout,
              Done<wire::v1::ForgetReply> done) override {
    Call("Forget", request, timeout, std::move(done));
  }
  void Probe(const wire::v1::ProbeRequest& request, Timeout timeout,
             Done<wire::v1::ProbeReply> done) override {
    Call("Probe", request, timeout, std::move(done));
  }

  void CancelAll() override {
    asio::post(io_, [calls = calls_] {
      if (!calls->client) return;
      calls->client->grpc().CancelAll();
      calls->client.reset();
    });
  }

 private:
  // The loop's.
  struct Calls {
    std::optional<Client> client;  // none after CancelAll()
  };

  template <typename Request, typename Reply>
  void Call(std::string_view method, const Request& request, Timeout timeout, Done<Reply> done) {
    asio::post(io_, [calls = calls_, path = PathOf(method), bytes = request.SerializeAsString(),
                     timeout, &clock = clock_, done = std::move(done)]() mutable {
      if (!calls->client) return done(absl::CancelledError("disconnected"));
      calls->client->grpc().Unary(
          path, AsBytes(bytes), timeout, clock.Now(),
          [done = std::move(done)](const GrpcStatus& status, ByteSpan message) {
            if (!status.ok()) return done(FromGrpc(status));
            Reply reply;
            if (!reply.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
              return done(absl::InternalError("the enclave's answer is no protobuf"));
            }
            done(std::move(reply));
          });
    });
  }

  asio::io_context& io_;
  const Clock& clock_;
  const std::shared_ptr<Calls> calls_;
};

}  // namespace

// ---- Loops -----------------------------------------------------------------------------------

class Http2Transport::Loop {
 public:
  explicit Loop(std::size_t index)
      : work_(io_.get_executor()),
        thread_(StartThread(fmt::format("link-io-{}", index), [this] { io_.run(); })) {}
  ~Loop() {
    io_.stop();
    thread_.join();
  }
  asio::io_context& io() { return io_; }

 private:
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

std::size_t Http2Transport::DefaultLoops() {
  return std::max(1u, std::thread::hardware_concurrency() / kCpusPerLoop);
}

Http2Transport::Http2Transport(const Clock& clock, std::size_t loops) : clock_(clock) {
  for (std::size_t i = 0; i < loops; ++i) loops_.push_back(std::make_unique<Loop>(i));
}

Http2Transport::~Http2Transport() = default;

Http2Transport::Loop& Http2Transport::NextLoop() {
  return *loops_[next_.fetch_add(1, std::memory_order_relaxed) % loops_.size()];
}

absl::StatusOr<std::shared_ptr<ControlConnection>> Http2Transport::DialControlBlocking(
    const Address& address) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, DialBlocking(address, kDialTimeout));
  return std::make_shared<Http2ControlConnection>(NextLoop().io(), std::move(fd), clock_);
}

absl::StatusOr<std::unique_ptr<FrameConnection>> Http2Transport::DialFramesBlocking(
    const Address& address) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd fd, DialBlocking(address, kDialTimeout));
  return std::make_unique<Http2FrameConnection>(
      std::make_shared<FrameStream>(NextLoop().io(), std::move(fd), clock_));
}

}  // namespace bulla
