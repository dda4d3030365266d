#pragma once

// One request and its answer: what is asked for is read out of the request, given to the service,
// and answered when the service is done. No byte is read from a socket or written to one here; that
// is the connection's (gateway/http/connection), which has one exchange and uses it for one request
// after the other.

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "gateway/call/call_context.h"
#include "gateway/call/signer_service.h"
#include "gateway/frontend/metrics.h"
#include "gateway/http/answer.h"
#include "gateway/http/json.h"
#include "gateway/http/request.h"
#include "gateway/http/routes.h"

namespace bulla {

class HttpConnection;
class HttpWorker;

// The memory that a connection may keep from one request to the next, for each of its buffers, and
// that counts in no pool: what a signature needs, several times over. There may be as many
// connections as limits::kHttpConnectionsMax, none of which needs to be busy.
inline constexpr std::size_t kHttpKeptBytesMax = 4 * 1024;

// One signature under way for a connection.
struct HttpSignCall final : SignCall {
  HttpConnection* connection = nullptr;
  bool der = false;
};

// Confined to its connection's thread. Its calls point to it: it must not go before calls_out() is
// 0.
class HttpExchange {
 public:
  // Its calls are submitted to `worker`, which gives them back to `connection`.
  HttpExchange(HttpWorker& worker, HttpConnection& connection);
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  // Serves a request that is complete; its last bytes were read at `read_at`. True: answer() is
  // there. False: calls are out, and it can be composed once the last is back.
  bool Serve(const HttpRequest& request, MonotonicTime read_at);
  // What is wrong with a request whose header is there, and whose body need not be.
  HttpRefusal CheckHeader(const HttpRequest& request) const;
  // The answer is `refusal`, to a request that may not be complete.
  void ServeRefusal(const HttpRequest& request, const HttpRefusal& refusal);

  // A call is back. True: it was the last.
  bool TakeBack() { return --calls_out_ == 0; }
  // Each composes the answer, after the last call is back.
  void AnswerSigned(const HttpSignCall& last);
  void AnswerKey(const Error& error, const KeyRow& key);

  std::size_t calls_out() const { return calls_out_; }  // with the service, or on the way back
  const HttpAnswer& answer() const { return answer_; }

  // Ready for the next request. Requires: no call is out.
  void Reset();

 private:
  void Begin(const HttpRequest& request);

  // As Serve.
  bool ServeRoute(const HttpRoute& route, const HttpRequest& request);
  bool ServeSign(const HttpRequest& request);
  bool ServeBatch(const HttpRequest& request);
  bool ServeCreate(const HttpRequest& request);
  bool ServeGetKey(std::string_view key_id);

  // Each completes the answer, whose body is composed already, or is that of an error.
  void Answer(int status, ErrorCode code, std::uint32_t retry_after_ms = 0, HttpField field = {});
  void AnswerError(const HttpRefusal& refusal);
  bool Refused(const HttpRefusal& refusal) {
    AnswerError(refusal);
    return true;
  }
  void AnswerBatch();
  // Whether nothing of the batch was done, for want of room.
  bool IsBatchRefused() const;
  std::uint32_t NextRetryAfterMs(const Error& error);

  HttpWorker& worker_;
  HttpConnection& connection_;
  FrontendMethod method_ = FrontendMethod::kOther;
  MonotonicTime read_at_;
  HttpAnswer answer_;
  HttpSignCall sign_;
  std::vector<BatchItem> items_;
  std::vector<HttpSignCall> batch_;  // one for each item; never resized while a call is out
  std::size_t calls_out_ = 0;
  CallContext context_;  // of the calls that are out
};

}  // namespace bulla
