#include "http2/grpc_server.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <vector>

namespace bulla::http2 {
namespace {

using Code = absl::StatusCode;

constexpr Header kOkFields[] = {{":status", "200"}, {"content-type", "application/grpc"}};

void AppendAll(const HeaderBlock& block, std::vector<Header>& fields) {
  for (std::size_t i = 0; i < block.size(); ++i) fields.push_back(block[i]);
}

}  // namespace

void GrpcMethods::AddUnary(std::string path, Unary answer) {
  methods_.insert_or_assign(std::move(path),
                            Method{.one_request = true, .begin = {}, .answer = std::move(answer)});
}

void GrpcMethods::AddStream(std::string path, Begin begin) {
  methods_.insert_or_assign(std::move(path),
                            Method{.one_request = false, .begin = std::move(begin), .answer = {}});
}

// ---- Answers ---------------------------------------------------------------------------------

void GrpcServer::AddMetadata(StreamId stream, std::string_view name, std::string_view value) {
  if (const std::shared_ptr<Call> call = Find(stream)) call->metadata.Add(name, value);
}

void GrpcServer::Send(StreamId stream, ByteSpan message) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  if (!std::exchange(call->answered, true)) {
    std::vector<Header> fields(std::begin(kOkFields), std::end(kOkFields));
    AppendAll(call->metadata, fields);
    session().Respond(stream, fields, /*end=*/false);
  }
  message_.clear();
  AppendGrpcMessage(message, message_);
  session().Send(stream, AsBytes(message_));
}

void GrpcServer::Finish(StreamId stream, const GrpcStatus& status) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  const GrpcStatusFields status_fields(status);
  std::vector<Header> fields;
  if (!call->answered) fields.assign(std::begin(kOkFields), std::end(kOkFields));
  status_fields.AppendTo(fields);
  AppendAll(call->metadata, fields);
  if (status.code == Code::kUnimplemented) fields.push_back({"grpc-accept-encoding", "identity"});
  if (call->answered) {
    session().End(stream, fields);
  } else {
    session().Respond(stream, fields, /*end=*/true);
  }
  Forget(stream);
}

void GrpcServer::Answer(StreamId stream, ByteSpan message) {
  Send(stream, message);
  Finish(stream, {});
}

GrpcServer::Later GrpcServer::later() {
  return [this, post = post()](std::function<void(GrpcServer&)> function) {
    post([this, function = std::move(function)] { function(*this); });
  };
}

std::shared_ptr<GrpcServer::Call> GrpcServer::Find(StreamId stream) const {
  const auto found = calls_.find(stream);
  return found == calls_.end() ? nullptr : found->second;
}

void GrpcServer::Forget(StreamId stream) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  partial_bytes_ -= call->partial_bytes;
  calls_.erase(stream);
}

// ---- Requests --------------------------------------------------------------------------------

void GrpcServer::OnHeaders(StreamId stream, const HeaderBlock& headers) {
  const auto refuse = [&](std::string_view http_status) {
    const Header fields[] = {{":status", http_status}};
    session().Respond(stream, fields, /*end=*/true);
  };
  if (headers.Find(":method") != "POST") return refuse("405");
  if (!IsGrpcContentType(headers.Find("content-type").value_or(""))) return refuse("415");

  auto call = std::make_shared<Call>(options_.message_bytes_max);
  calls_.emplace(stream, call);
  const GrpcStatus checked = Check(headers, *call);
  if (!checked.ok()) return Finish(stream, checked);
  if (call->method->one_request) {
    call->headers = headers;
    call->complete_by = session().now() + options_.request_timeout;
    next_due_ = std::min(next_due_, call->complete_by);
  } else {
    call->handler = call->method->begin(
        *this, {.stream = stream, .headers = headers, .deadline = call->deadline});
  }
}

GrpcStatus GrpcServer::Check(const HeaderBlock& headers, Call& call) {
  const std::string path(headers.Find(":path").value_or(""));
  const auto method = methods_.methods_.find(path);
  if (method == methods_.methods_.end()) {
    return {Code::kUnimplemented, fmt::format("there is no method {}", path.substr(0, 128)), ""};
  }
  call.method = &method->second;
  const std::string_view encoding = headers.Find("grpc-encoding").value_or("identity");
  if (encoding != "identity") {
    return {Code::kUnimplemented,
            fmt::format("grpc-encoding: got {}, want identity", encoding.substr(0, 64)), ""};
  }
  if (const std::optional<std::string_view> text = headers.Find("grpc-timeout")) {
    const std::optional<std::chrono::nanoseconds> timeout = ParseGrpcTimeout(*text);
    if (!timeout) {
      return {Code::kInvalidArgument,
              fmt::format("grpc-timeout: got {}, want up to eight digits and one of H M S m u n",
                          text->substr(0, 64)),
              ""};
    }
    const MonotonicTime now = session().now();
    if (*timeout < MonotonicTime::max() - now) call.deadline = now + *timeout;
    next_due_ = std::min(next_due_, call.deadline);
  }
  return {};
}

void GrpcServer::OnData(StreamId stream, ByteSpan bytes) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return session().Consume(stream, bytes.size());
  if (call->held.empty()) {
    const std::size_t size = bytes.size();
    TakeData(stream, call, bytes);
    Consume(stream, *call, size - bytes.size());
  }
  call->held.append(AsText(bytes));  // at most a stream's window
}

void GrpcServer::Resume(StreamId stream) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr || call->held.empty()) return;
  const std::string held = std::exchange(call->held, {});
  ByteSpan bytes = AsBytes(held);
  TakeData(stream, call, bytes);
  Consume(stream, *call, held.size() - bytes.size());
  call->held = AsText(bytes);
  if (call->held.empty() && call->half_closed && call == Find(stream)) TakeEnd(stream, *call);
}

void GrpcServer::TakeData(StreamId stream, const std::shared_ptr<Call>& call, ByteSpan& bytes) {
  using Found = GrpcMessageReader::Found;
  for (Found found = Found::kMessage; found == Found::kMessage && call == Find(stream);) {
    if (call->handler != nullptr && !call->handler->WantsMessage()) {
      call->complete_by = MonotonicTime::max();  // it is we who do not read on
      return;
    }
    ByteSpan message;
    found = call->reader.Next(bytes, message);
    if (found == Found::kMessage) TakeMessage(stream, *call, message);
    if (found == Found::kMore) CountPartial(stream, *call);
    if (found == Found::kCompressed) {
      Finish(stream, {Code::kUnimplemented, "a message is compressed, want identity", ""});
    }
    if (found == Found::kTooLong) {
      Finish(stream, {Code::kResourceExhausted,
                      fmt::format("a message of {} bytes, at most {} are taken",
                                  call->reader.announced_bytes(), options_.message_bytes_max),
                      ""});
    }
  }
  if (call != Find(stream)) bytes = {};  // nobody looks at the rest
}

// A caller who does not take his answers has no room made for what he sends.
void GrpcServer::Consume(StreamId stream, Call& call, std::size_t bytes) {
  if (session().unsent_bytes(stream) > options_.untaken_bytes_max) {
    call.withheld += bytes;
  } else {
    session().Consume(stream, bytes);
  }
}

void GrpcServer::TakeMessage(StreamId stream, Call& call, ByteSpan message) {
  partial_bytes_ -= std::exchange(call.partial_bytes, 0);
  ++call.messages;
  if (!call.method->one_request) {
    call.complete_by = MonotonicTime::max();
    return call.handler->OnMessage(message);
  }
  if (call.messages > 1) {
    return Finish(stream, {Code::kInvalidArgument, "more than one message, want one", ""});
  }
  // It is complete when it cannot be followed by another: OnEnd.
  call.request.assign(AsText(message));
}

void GrpcServer::CountPartial(StreamId stream, Call& call) {
  const std::size_t kept = call.reader.in_message() ? call.reader.memory_bytes() : 0;
  partial_bytes_ += kept - call.partial_bytes;
  call.partial_bytes = kept;
  if (partial_bytes_ > options_.partial_bytes_max) {
    return Finish(stream, {Code::kResourceExhausted,
                           "too much of unfinished messages on this connection", ""});
  }
  // Of a stream, each message has its time.
  if (!call.method->one_request && call.complete_by == MonotonicTime::max() && kept > 0) {
    call.complete_by = session().now() + options_.request_timeout;
    next_due_ = std::min(next_due_, call.complete_by);
  }
}

void GrpcServer::OnEnd(StreamId stream) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  call->half_closed = true;
  if (call->held.empty()) TakeEnd(stream, *call);
}

void GrpcServer::TakeEnd(StreamId stream, Call& call) {
  if (call.reader.in_message()) {
    return Finish(stream, {Code::kInvalidArgument, "the last message is not complete", ""});
  }
  if (!call.method->one_request) return call.handler->OnHalfClose();
  if (call.messages == 0) {
    return Finish(stream, {Code::kInvalidArgument, "no message, want one", ""});
  }
  call.complete_by = MonotonicTime::max();
  call.method->answer(*this, {.stream = stream, .headers = call.headers, .deadline = call.deadline},
                      AsBytes(call.request));
}

void GrpcServer::OnWritten(StreamId stream) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  session().Consume(stream, std::exchange(call->withheld, 0));
  if (call->handler != nullptr) call->handler->OnWritten();
}

void GrpcServer::OnClosed(StreamId stream, ErrorCode) { Forget(stream); }

// Looks at every call only when one is due: it is asked in each turn of the loop.
MonotonicTime GrpcServer::Tick(MonotonicTime now) {
  if (now < next_due_) return next_due_;
  std::vector<StreamId> late;
  MonotonicTime next = MonotonicTime::max();
  for (const auto& [stream, call] : calls_) {
    const MonotonicTime due = std::min(call->deadline, call->complete_by);
    if (now >= due) {
      late.push_back(stream);
    } else {
      next = std::min(next, due);
    }
  }
  for (const StreamId stream : late) {
    Finish(stream, {Code::kDeadlineExceeded, "not answered, or not asked, in time", ""});
  }
  return next_due_ = next;
}

void GrpcServer::OnOver(const absl::Status&) {
  while (!calls_.empty()) Forget(calls_.begin()->first);
}

}  // namespace bulla::http2
