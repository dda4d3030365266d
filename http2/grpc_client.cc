#include "http2/grpc_client.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <vector>

namespace bulla::http2 {

class GrpcClient::UnaryCall final : public GrpcCallEvents {
 public:
  explicit UnaryCall(UnaryDone done) : done_(std::move(done)) {}

  void OnMessage(ByteSpan message) override {
    ++messages_;
    if (messages_ == 1) reply_ = AsText(message);
  }
  void OnWritten() override {}
  void OnDone(const GrpcStatus& status) override {
    if (!status.ok()) return done_(status, {});
    if (messages_ == 1) return done_(status, AsBytes(reply_));
    done_({absl::StatusCode::kInternal,
           fmt::format("the peer answers with {} messages, want 1", messages_), ""},
          {});
  }

 private:
  const UnaryDone done_;
  std::string reply_;
  std::size_t messages_ = 0;
};

std::optional<StreamId> GrpcClient::Start(std::string_view path, Timeout timeout, MonotonicTime now,
                                          GrpcCallEvents& events) {
  const std::string timeout_text = timeout ? FormatGrpcTimeout(*timeout) : "";
  std::vector<Header> headers = {{":method", "POST"}, {":scheme", "http"},
                                 {":path", path},     {":authority", options_.authority},
                                 {"te", "trailers"},  {"content-type", "application/grpc"}};
  if (timeout) headers.push_back({"grpc-timeout", timeout_text});
  const absl::StatusOr<StreamId> stream = session().Open(headers, /*end=*/false);
  if (!stream.ok()) {
    events.OnDone({stream.status().code(), std::string(stream.status().message()), ""});
    return std::nullopt;
  }
  auto call = std::make_shared<Call>(events, options_.message_bytes_max);
  if (timeout) {
    call->deadline = now + *timeout;
    ++deadlines_;
  }
  calls_.emplace(*stream, std::move(call));
  return *stream;
}

void GrpcClient::Write(StreamId stream, ByteSpan message) {
  if (Find(stream) == nullptr) return;
  message_.clear();
  AppendGrpcMessage(message, message_);
  session().Send(stream, AsBytes(message_));
}

void GrpcClient::EndWrites(StreamId stream) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr || std::exchange(call->writes_ended, true)) return;
  session().End(stream);
}

void GrpcClient::Cancel(StreamId stream) {
  Finish(stream, EndedBy::kUs, {absl::StatusCode::kCancelled, "cancelled", ""});
}

void GrpcClient::CancelAll() {
  while (!calls_.empty()) Cancel(calls_.begin()->first);
}

void GrpcClient::Unary(std::string_view path, ByteSpan request, Timeout timeout, MonotonicTime now,
                       UnaryDone done) {
  auto call = std::make_unique<UnaryCall>(std::move(done));
  const std::optional<StreamId> stream = Start(path, timeout, now, *call);
  if (!stream) return;
  Find(*stream)->own_events = std::move(call);
  Write(*stream, request);
  EndWrites(*stream);
}

std::shared_ptr<GrpcClient::Call> GrpcClient::Find(StreamId stream) const {
  const auto found = calls_.find(stream);
  return found == calls_.end() ? nullptr : found->second;
}

void GrpcClient::Finish(StreamId stream, EndedBy who, const GrpcStatus& status) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  calls_.erase(stream);
  if (call->deadline != MonotonicTime::max()) --deadlines_;
  if (who == EndedBy::kUs || !call->writes_ended) session().Reset(stream, ErrorCode::kCancel);
  call->events->OnDone(status);
}

MonotonicTime GrpcClient::Tick(MonotonicTime now) {
  if (deadlines_ == 0) return MonotonicTime::max();
  std::vector<StreamId> late;
  MonotonicTime next = MonotonicTime::max();
  for (const auto& [stream, call] : calls_) {
    if (now >= call->deadline) {
      late.push_back(stream);
    } else {
      next = std::min(next, call->deadline);
    }
  }
  for (const StreamId stream : late) {
    Finish(stream, EndedBy::kUs,
           {absl::StatusCode::kDeadlineExceeded, "no answer within the deadline", ""});
  }
  return next;
}

void GrpcClient::OnOver(const absl::Status& reason) {
  const GrpcStatus status =
      reason.ok() ? GrpcStatus{absl::StatusCode::kUnavailable, "the connection has ended", ""}
                  : GrpcStatus{reason.code(), std::string(reason.message()), ""};
  while (!calls_.empty()) Finish(calls_.begin()->first, EndedBy::kUs, status);
}

void GrpcClient::OnHeaders(StreamId stream, const HeaderBlock& headers) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  call->answered = true;
  const std::string_view status = headers.Find(":status").value_or("");
  const std::string_view content_type = headers.Find("content-type").value_or("");
  if (const std::optional<GrpcStatus> ended = StatusOfTrailers(headers)) {
    Finish(stream, EndedBy::kPeer, *ended);  // trailers only
  } else if (status != "200" || !IsGrpcContentType(content_type)) {
    Finish(stream, EndedBy::kUs, StatusOfHttp(status, content_type));
  }
}

void GrpcClient::OnData(StreamId stream, ByteSpan bytes) {
  const std::shared_ptr<Call> call = Find(stream);
  const std::size_t size = bytes.size();
  while (call != nullptr && call == Find(stream)) {  // until somebody ends it
    ByteSpan message;
    switch (call->reader.Next(bytes, message)) {
      case GrpcMessageReader::Found::kMessage:
        call->events->OnMessage(message);
        continue;
      case GrpcMessageReader::Found::kMore:
        break;
      case GrpcMessageReader::Found::kCompressed:
        Finish(stream, EndedBy::kUs,
               {absl::StatusCode::kInternal,
                "the peer answers with a compressed message, which was not offered", ""});
        break;
      case GrpcMessageReader::Found::kTooLong:
        Finish(stream, EndedBy::kUs,
               {absl::StatusCode::kResourceExhausted,
                fmt::format("the peer answers with {} bytes, at most {} are read",
                            call->reader.announced_bytes(), options_.message_bytes_max),
                ""});
        break;
    }
    break;
  }
  session().Consume(stream, size);
}

void GrpcClient::OnTrailers(StreamId stream, const HeaderBlock& trailers) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  GrpcStatus status = StatusOfTrailers(trailers).value_or(
      GrpcStatus{absl::StatusCode::kUnknown, "the peer's trailers have no grpc-status", ""});
  if (status.ok() && call->reader.in_message()) {
    status = {absl::StatusCode::kInternal, "the peer's last message is not complete", ""};
  }
  Finish(stream, EndedBy::kPeer, status);
}

// Trailers have ended it before.
void GrpcClient::OnEnd(StreamId stream) {
  Finish(stream, EndedBy::kPeer,
         {absl::StatusCode::kInternal, "the peer ends the stream without trailers", ""});
}

void GrpcClient::OnWritten(StreamId stream) {
  if (const std::shared_ptr<Call> call = Find(stream)) call->events->OnWritten();
}

void GrpcClient::OnClosed(StreamId stream, ErrorCode code) {
  const std::shared_ptr<Call> call = Find(stream);
  if (call == nullptr) return;
  if (code == ErrorCode::kRefusedStream && call->answered) code = ErrorCode::kInternalError;
  Finish(stream, EndedBy::kPeer, StatusOfReset(code));
}

}  // namespace bulla::http2
