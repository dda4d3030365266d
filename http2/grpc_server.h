#pragma once

// gRPC's server: the calls of one connection, each taken by the method of its path. What is wrong
// with a call is answered on its stream, and no other stream sees it.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <absl/container/flat_hash_map.h>

#include "base/bytes.h"
#include "http2/grpc_fields.h"
#include "http2/grpc_message.h"
#include "http2/protocol.h"

namespace bulla::http2 {

class GrpcServer;

// A call as its method sees it. Destroyed when the call has ended, whoever ended it: finished,
// cancelled, past its deadline, its connection lost. Then an answer that comes finds nobody.
class GrpcHandler {
 public:
  virtual ~GrpcHandler() = default;
  // It lasts for the call of this function.
  virtual void OnMessage(ByteSpan message) = 0;
  // The caller will send nothing more.
  virtual void OnHalfClose() = 0;
  // What was sent has left.
  virtual void OnWritten() {}
  // False: the next message waits, and the caller is held back, until GrpcServer::Resume().
  virtual bool WantsMessage() const { return true; }
};

struct GrpcRequest {
  StreamId stream;
  const HeaderBlock& headers;  // lasts for the call of the function that is given it
  MonotonicTime deadline = MonotonicTime::max();  // after it nobody waits for an answer
};

// Which method is at which path. Made once, before the first connection, and not changed then.
class GrpcMethods {
 public:
  using Begin = std::function<std::unique_ptr<GrpcHandler>(GrpcServer&, const GrpcRequest&)>;
  // `answer` is given the one message, and has Answer() or Finish() called then or later.
  using Unary = std::function<void(GrpcServer&, const GrpcRequest&, ByteSpan message)>;

  // `path` is "/package.Service/Method". One request, answered by one or many messages.
  void AddUnary(std::string path, Unary answer);
  void AddServerStream(std::string path, Unary answer) {
    AddUnary(std::move(path), std::move(answer));
  }
  // Messages both ways in any order.
  void AddStream(std::string path, Begin begin);

 private:
  friend class GrpcServer;
  struct Method {
    bool one_request = false;
    Begin begin;
    Unary answer;
  };
  absl::flat_hash_map<std::string, Method> methods_;
};

// Confined to its session's thread. Derived from by who has to know more of a connection: methods
// are given that object.
class GrpcServer : public Protocol {
 public:
  struct Options {
    // Of a message: longer ones are refused by their prefix.
    std::size_t message_bytes_max = 4 * 1024 * 1024;
    // Of all messages that have begun and not ended, on this connection.
    std::size_t partial_bytes_max = 16 * 1024 * 1024;
    // Bytes of answers on a stream that its caller has not taken: then what he sends is no longer
    // made room for.
    std::size_t untaken_bytes_max = 64 * 1024;
    // From the beginning of a request, where there is one, to its end.
    std::chrono::milliseconds request_timeout{10'000};
  };
  // `methods` outlives it.
  GrpcServer(const Options& options, const GrpcMethods& methods)
      : options_(options), methods_(methods) {}

  // A call that has ended is left alone.
  // A field for the caller, with the headers of the answer and with its status: client libraries
  // differ in which of the two they show. Requires: nothing is sent yet.
  void AddMetadata(StreamId call, std::string_view name, std::string_view value);
  void Send(StreamId call, ByteSpan message);
  void Finish(StreamId call, const GrpcStatus& status);
  // Both: what a unary call is answered with.
  void Answer(StreamId call, ByteSpan message);
  // Its handler wants messages again. Not from within OnMessage().
  void Resume(StreamId call);

  // For answers that are made on other threads: has a function called with this server on the
  // session's thread, from any thread, also after the connection is gone; then it is not called.
  using Later = std::function<void(std::function<void(GrpcServer&)>)>;
  Later later();

  std::size_t calls() const { return calls_.size(); }
  // That are kept of messages which have begun and not ended.
  std::size_t partial_bytes() const { return partial_bytes_; }

  // Protocol
  MonotonicTime Tick(MonotonicTime now) override;
  void OnOver(const absl::Status& reason) override;
  void OnHeaders(StreamId stream, const HeaderBlock& headers) override;
  void OnData(StreamId stream, ByteSpan bytes) override;
  void OnTrailers(StreamId, const HeaderBlock&) override {}
  void OnEnd(StreamId stream) override;
  void OnWritten(StreamId stream) override;
  void OnClosed(StreamId stream, ErrorCode code) override;
  void OnGoAway() override {}

 private:
  struct Call {
    explicit Call(std::size_t message_bytes_max) : reader(message_bytes_max) {}
    const GrpcMethods::Method* method = nullptr;
    std::unique_ptr<GrpcHandler> handler;
    MonotonicTime deadline = MonotonicTime::max();     // the caller's
    MonotonicTime complete_by = MonotonicTime::max();  // the request, where there is one
    GrpcMessageReader reader;
    std::size_t partial_bytes = 0;  // of partial_bytes_
    // Of a call with one request, until it is complete.
    HeaderBlock headers;
    std::string request;
    std::size_t messages = 0;
    std::size_t withheld = 0;  // bytes that are not consumed until the caller takes his answers
    std::string held;          // not consumed and not looked at until the handler wants messages
    bool half_closed = false;  // behind what is held
    HeaderBlock metadata;
    bool answered = false;  // headers have been sent
  };
  class OneRequest;

  std::shared_ptr<Call> Find(StreamId stream) const;
  // What is wrong with a request by its headers; OK when it can be taken.
  GrpcStatus Check(const HeaderBlock& headers, Call& call);
  // Takes messages from the front of `bytes` for as long as they are wanted.
  void TakeData(StreamId stream, const std::shared_ptr<Call>& call, ByteSpan& bytes);
  void TakeMessage(StreamId stream, Call& call, ByteSpan message);
  void TakeEnd(StreamId stream, Call& call);
  void Consume(StreamId stream, Call& call, std::size_t bytes);
  void CountPartial(StreamId stream, Call& call);
  void Forget(StreamId stream);

  const Options options_;
  const GrpcMethods& methods_;
  absl::flat_hash_map<StreamId, std::shared_ptr<Call>> calls_;
  std::size_t partial_bytes_ = 0;
  MonotonicTime next_due_ = MonotonicTime::max();  // no call is due before
  std::string message_;                            // that is being sent
};

}  // namespace bulla::http2
