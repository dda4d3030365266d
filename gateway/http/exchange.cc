#include "gateway/http/exchange.h"

#include <utility>

#include "gateway/frontend/call_rules.h"
#include "gateway/http/connection.h"
#include "gateway/http/shared.h"
#include "gateway/http/worker.h"

namespace bulla {

HttpExchange::HttpExchange(HttpWorker& worker, HttpConnection& connection)
    : worker_(worker), connection_(connection) {
  sign_.connection = &connection;
  sign_.context = &context_;
}

void HttpExchange::Begin(const HttpRequest& request) {
  worker_.ids().TakeInto(request.request_id, answer_.request_id);
  answer_.body.clear();
  method_ = FrontendMethod::kOther;
  context_ = {.client = &connection_.client(), .request_id = answer_.request_id};
}

void HttpExchange::Reset() {
  if (answer_.body.capacity() > kHttpKeptBytesMax) {
    answer_.body.clear();
    answer_.body.shrink_to_fit();
  }
  // An assignment of {} would keep what a batch of 1024 took: hundreds of KiB.
  std::vector<BatchItem>().swap(items_);
  std::vector<HttpSignCall>().swap(batch_);
}

// ---- Serving ---------------------------------------------------------------------------------

HttpRefusal HttpExchange::CheckHeader(const HttpRequest& request) const {
  HttpRoute route;
  return bulla::CheckHeader(request, worker_.shared().options.hosts, route);
}

void HttpExchange::ServeRefusal(const HttpRequest& request, const HttpRefusal& refusal) {
  Begin(request);
  AnswerError(refusal);
}

bool HttpExchange::Serve(const HttpRequest& request, MonotonicTime read_at) {
  Begin(request);
  read_at_ = read_at;
  HttpRoute route;
  const HttpRefusal refusal = bulla::CheckHeader(request, worker_.shared().options.hosts, route);
  method_ = route.method;
  if (refusal.any()) return Refused(refusal);
  if (request.method == "OPTIONS") {
    Answer(204, ErrorCode::kOk, 0, {"Allow", route.allow});
    return true;
  }
  return ServeRoute(route, request);
}

bool HttpExchange::ServeRoute(const HttpRoute& route, const HttpRequest& request) {
  switch (route.method) {
    case FrontendMethod::kSign:
      return ServeSign(request);
    case FrontendMethod::kBatch:
      return ServeBatch(request);
    case FrontendMethod::kCreate:
      return ServeCreate(request);
    default:
      return ServeGetKey(route.key_id);
  }
}

bool HttpExchange::ServeSign(const HttpRequest& request) {
  SignRequest asked;
  if (Error error = ParseSign(request.body, asked); !error.ok()) {
    return Refused(Refuse(std::move(error)));
  }
  MonotonicTime now = worker_.Now();
  worker_.parse_latency().Observe(now - read_at_);
  sign_.key_id = asked.key_id;
  sign_.digest = asked.digest;
  sign_.der = asked.der;
  sign_.no_wait = asked.no_wait;
  sign_.deadline = now + worker_.shared().options.calls.sign_timeout.Get();
  sign_.error = ErrorCode::kOk;
  calls_out_ = 1;
  worker_.Submit(&sign_);
  return false;
}

bool HttpExchange::ServeBatch(const HttpRequest& request) {
  if (Error error = ParseSignBatch(request.body, items_); !error.ok()) {
    return Refused(Refuse(std::move(error)));
  }
  MonotonicTime deadline = worker_.Now() + worker_.shared().options.calls.sign_timeout.Get();
  batch_ = std::vector<HttpSignCall>(items_.size());
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (!items_[i].error.ok()) continue;
    HttpSignCall& call = batch_[i];
    call.connection = &connection_;
    call.context = &context_;
    call.key_id = items_[i].request.key_id;
    call.digest = items_[i].request.digest;
    call.der = items_[i].request.der;
    call.no_wait = items_[i].request.no_wait;
    call.deadline = deadline;
    ++calls_out_;
    worker_.Submit(&call);
  }
  if (calls_out_ > 0) return false;
  AnswerBatch();
  return true;
}

bool HttpExchange::ServeCreate(const HttpRequest& request) {
  Error error = ParseCreate(request.body);
  if (error.ok()) error = CheckIdempotencyKey(request.idempotency_key);
  if (!error.ok()) return Refused(Refuse(std::move(error)));
  HttpShared& shared = worker_.shared();
  CreateCall call;
  call.idempotency_key = request.idempotency_key;
  call.deadline = worker_.Now() + shared.options.calls.create_timeout.Get();
  call.context = &context_;
  calls_out_ = 1;
  shared.service.Create(std::move(call), worker_.KeyDone(connection_));
  return false;
}

bool HttpExchange::ServeGetKey(std::string_view text) {
  KeyId key_id;
  if (Error error = ParseKeyId(text, key_id); !error.ok()) {
    return Refused(Refuse(std::move(error)));
  }
  calls_out_ = 1;
  worker_.shared().service.GetKey({.key_id = key_id, .context = &context_},
                                  worker_.KeyDone(connection_));
  return false;
}

// ---- Answering -------------------------------------------------------------------------------

void HttpExchange::AnswerSigned(const HttpSignCall& last) {
  if (method_ == FrontendMethod::kBatch) return AnswerBatch();
  if (last.error != ErrorCode::kOk) return AnswerError(Refuse(last.error, ""));
  AppendSignature(last.signature, last.der, answer_.body);
  Answer(200, ErrorCode::kOk);
  worker_.total_latency().Observe(worker_.Now() - read_at_);
}

void HttpExchange::AnswerKey(const Error& error, const KeyRow& key) {
  if (!error.ok()) return AnswerError(Refuse(error));
  method_ == FrontendMethod::kCreate ? AppendCreated(key, answer_.body)
                                     : AppendKey(key, answer_.body);
  Answer(200, ErrorCode::kOk);
}

bool HttpExchange::IsBatchRefused() const {
  bool any = false;
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (!items_[i].error.ok()) continue;
    if (batch_[i].error != ErrorCode::kRetryLater) return false;
    any = true;
  }
  return any;
}

void HttpExchange::AnswerBatch() {
  if (IsBatchRefused()) return AnswerError(Refuse(ErrorCode::kRetryLater, ""));
  std::string& body = answer_.body;
  body = R"({"results":[)";
  for (std::size_t i = 0; i < items_.size(); ++i) {
    if (i > 0) body += ',';
    const HttpSignCall& call = batch_[i];
    Error error = items_[i].error;
    if (error.ok()) error.code = call.error;
    worker_.shared().metrics.Count(FrontendMethod::kBatchItem, error.code);
    if (error.ok()) {
      AppendSignature(call.signature, call.der, body);
    } else {
      AppendError(error, answer_.request_id, NextRetryAfterMs(error), body);
    }
  }
  body += "]}";
  Answer(200, ErrorCode::kOk);
}

void HttpExchange::AnswerError(const HttpRefusal& refusal) {
  std::uint32_t retry_after_ms = NextRetryAfterMs(refusal.error);
  AppendError(refusal.error, answer_.request_id, retry_after_ms, answer_.body);
  Answer(refusal.status, refusal.error.code, retry_after_ms, refusal.field);
}

void HttpExchange::Answer(int status, ErrorCode code, std::uint32_t retry_after_ms,
                          HttpField field) {
  worker_.shared().metrics.Count(method_, code);
  answer_.status = status;
  answer_.retry_after_ms = retry_after_ms;
  answer_.field = field;
}

std::uint32_t HttpExchange::NextRetryAfterMs(const Error& error) {
  return RetryAfterMs(error, worker_.shared().options.calls.retry_hint(),
                      worker_.NextJitter() >> 33);
}

}  // namespace bulla
