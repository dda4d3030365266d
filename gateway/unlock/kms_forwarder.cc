#include "gateway/unlock/kms_forwarder.h"

#include <array>
#include <atomic>
#include <chrono>
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "base/acceptor.h"
#include "base/log.h"
#include "base/thread.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using EnclaveSocket = asio::generic::stream_protocol::socket;

// Two unlock threads an enclave and 64 enclaves at most: this many connections are use, more abuse.
constexpr int kConnectionsMax = 256;
// Some kernels corrupt vsock writes of more than 32 KiB.
constexpr std::size_t kChunkBytes = 16 * 1024;
// An idle kept-alive connection is worth a TLS handshake, not a socket for ever.
constexpr std::chrono::seconds kIdleTimeout{120};

// One connection, carried both ways until either side ends it or it is idle too long. Confined to
// the forwarder's thread; kept alive by its own operations.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(asio::io_context& io, EnclaveSocket enclave, std::atomic<int>& count)
      : resolver_(io), enclave_(std::move(enclave)), kms_(io), idle_(io), count_(count) {
    ++count_;
  }
  ~Connection() { --count_; }

  void Start(const std::string& host, const std::string& port) {
    WatchIdle();
    resolver_.async_resolve(host, port, [self = shared_from_this()](error_code error, auto found) {
      if (error) return self->Fail("resolve", error);
      asio::async_connect(self->kms_, found, [self](error_code failed, const auto&) {
        if (failed) return self->Fail("connect", failed);
        self->Carry(self->enclave_, self->kms_, self->to_kms_);
        self->Carry(self->kms_, self->enclave_, self->to_enclave_);
      });
    });
  }

 private:
  using Chunk = std::array<char, kChunkBytes>;

  template <typename From, typename To>
  void Carry(From& from, To& to, Chunk& chunk) {
    from.async_read_some(asio::buffer(chunk), [this, self = shared_from_this(), &from, &to, &chunk](
                                                  error_code error, std::size_t size) {
      if (error) return Close();
      idle_.expires_after(kIdleTimeout);
      WatchIdle();
      asio::async_write(to, asio::buffer(chunk.data(), size),
                        [this, self, &from, &to, &chunk](error_code failed, std::size_t) {
                          if (failed) return Close();
                          Carry(from, to, chunk);
                        });
    });
  }

  void WatchIdle() {
    idle_.expires_after(kIdleTimeout);
    idle_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->Close();
    });
  }

  void Fail(const char* step, error_code error) {
    LogWarn("kms_unreachable", {{"step", step}, {"reason", error.message()}});
    Close();
  }

  void Close() {
    error_code ignored;
    enclave_.close(ignored);
    kms_.close(ignored);
    idle_.cancel();
  }

  asio::ip::tcp::resolver resolver_;
  EnclaveSocket enclave_;
  asio::ip::tcp::socket kms_;
  asio::steady_timer idle_;
  std::atomic<int>& count_;
  Chunk to_kms_;
  Chunk to_enclave_;
};

}  // namespace

class KmsForwarder::Impl {
 public:
  Impl(Options options, UniqueFd listener)
      : options_(std::move(options)),
        family_(options_.listen.family()),
        acceptor_(io_.get_executor(), std::move(listener),
                  {.name = "kms_forwarder", .on_pause = options_.on_accept_pause},
                  [this](UniqueFd fd) { Take(std::move(fd)); }) {
    acceptor_.Start();
    thread_ = StartThread("kms-forwarder", [this] { io_.run(); });
  }

  ~Impl() {
    io_.stop();
    thread_.join();
  }

 private:
  void Take(UniqueFd fd) {
    if (connections_ >= kConnectionsMax) return;
    TuneConnection(fd.get());
    EnclaveSocket socket(io_);
    error_code error;
    if (socket.assign(asio::generic::stream_protocol(family_, 0), fd.get(), error)) return;
    fd.Release();
    std::make_shared<Connection>(io_, std::move(socket), connections_)
        ->Start(options_.target_host, options_.target_port);
  }

  const Options options_;
  const int family_;
  std::atomic<int> connections_{0};
  asio::io_context io_{1};
  Acceptor acceptor_;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<KmsForwarder>> KmsForwarder::Start(Options options) {
  BULLA_ASSIGN_OR_RETURN(UniqueFd listener, Listen(options.listen));
  return std::unique_ptr<KmsForwarder>(
      new KmsForwarder(std::make_unique<Impl>(std::move(options), std::move(listener))));
}

KmsForwarder::KmsForwarder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KmsForwarder::~KmsForwarder() = default;

}  // namespace bulla
