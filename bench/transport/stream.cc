// Signer.SignStream: streams that stay open, with several messages of many items under way on each.

#include <deque>
#include <fmt/format.h>

#include "bench/transport/grpc_support.h"
#include "bench/transport/transport.h"
#include "bulla/v1/signer.grpc.pb.h"

namespace bulla {
namespace {

struct Stream;

// An operation of a stream, as the tag of its completion.
struct Operation {
  enum class Kind { kStart, kRead, kWrite, kFinish };

  Stream* stream = nullptr;
  Kind kind = Kind::kStart;
  bool under_way = false;
};

// A stream and its items under way. An item's `ref` is its place in `items`.
//
//   kDown -> kStarting -> kOpen -> kBroken (waits for what is under way, then for its status) ->
//   kDown
struct Stream {
  enum class State { kDown, kStarting, kOpen, kBroken };

  v1::Signer::Stub* stub = nullptr;
  State state = State::kDown;
  std::optional<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::SignStreamRequest, v1::SignStreamResponse>>
      call;
  v1::SignStreamRequest request;
  v1::SignStreamResponse response;
  grpc::Status status;
  Operation start{this, Operation::Kind::kStart};
  Operation read{this, Operation::Kind::kRead};
  Operation write{this, Operation::Kind::kWrite};
  Operation finish{this, Operation::Kind::kFinish};
  std::vector<std::optional<DueRequest>> items;
  std::vector<std::size_t> free;  // places in `items`
  bool ready = false;             // is among those that can send

  bool AnythingUnderWay() const {
    return start.under_way || read.under_way || write.under_way || finish.under_way;
  }
};

// Confined to one thread.
class StreamTransport final : public Transport {
 public:
  StreamTransport(const TransportPlan& plan, const Clock& clock, LoadBook& book)
      : plan_(plan),
        clock_(clock),
        book_(book),
        batch_(static_cast<std::size_t>(plan.traffic.batch)),
        completions_(plan.paced) {}
  ~StreamTransport() override { GiveUp(); }

  absl::Status ConnectBlocking() override;
  bool CanSend() override { return !ready_.empty(); }
  void Send(std::span<const DueRequest> items) override;
  absl::Status ReceiveBlocking(MonotonicTime until) override;
  void Reconnect() override;
  void GiveUp() override;

 private:
  using State = Stream::State;

  void* Begin(Operation& operation);
  void Start(Stream& stream);
  void OnCompletion(const Completion& completion, MonotonicTime now);
  void OnResponse(Stream& stream, MonotonicTime now);
  void OnResult(const DueRequest& item, const v1::SignStreamResult& result, MonotonicTime now);
  void Break(Stream& stream, std::string_view why);
  void CheckReady(Stream& stream);
  void ReceiveCompletions(MonotonicTime until);
  bool AnythingUnderWay() const;

  const TransportPlan plan_;
  const Clock& clock_;
  LoadBook& book_;
  const std::size_t batch_;
  bool given_up_ = false;
  std::vector<std::unique_ptr<v1::Signer::Stub>> stubs_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::deque<Stream*> ready_;  // first in, first out
  Completions completions_;    // last: it goes before what its operations write to
};

absl::Status StreamTransport::ConnectBlocking() {
  for (int i = 0; i < plan_.traffic.connections; ++i) {
    BULLA_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                           OpenChannelBlocking(plan_.target));
    v1::Signer::Stub& stub = *stubs_.emplace_back(v1::Signer::NewStub(channel));
    for (int j = 0; j < plan_.traffic.streams; ++j) {
      Stream& stream = *streams_.emplace_back(std::make_unique<Stream>());
      stream.stub = &stub;
      stream.items.resize(batch_ * static_cast<std::size_t>(plan_.traffic.messages));
      Start(stream);
    }
  }
  constexpr Duration kPatience = std::chrono::seconds(5);
  MonotonicTime give_up_at = clock_.Now() + kPatience;
  while (ready_.size() < streams_.size() && clock_.Now() < give_up_at) {
    ReceiveCompletions(give_up_at);
    Reconnect();
  }
  if (ready_.size() == streams_.size()) return absl::OkStatus();
  return absl::UnavailableError(
      fmt::format("connect to {}: SignStream cannot be opened", plan_.target.host_field));
}

void* StreamTransport::Begin(Operation& operation) {
  operation.under_way = true;
  return &operation;
}

void StreamTransport::Start(Stream& stream) {
  stream.state = State::kStarting;
  stream.free.clear();
  for (std::size_t i = stream.items.size(); i-- > 0;) stream.free.push_back(i);
  stream.call.reset();  // lies in the memory of the call, which the context holds
  stream.context.emplace();
  stream.call =
      stream.stub->AsyncSignStream(&*stream.context, &completions_.queue(), Begin(stream.start));
}

void StreamTransport::Send(std::span<const DueRequest> items) {
  Stream& stream = *ready_.front();
  ready_.pop_front();
  stream.ready = false;
  stream.request.clear_items();  // keeps the items' memory
  for (const DueRequest& due : items) {
    std::size_t place = stream.free.back();
    stream.free.pop_back();
    stream.items[place] = due;
    Digest32 digest = DigestOf(plan_.seed, due.index);
    v1::SignStreamItem& item = *stream.request.add_items();
    item.set_ref(place);
    item.set_key_id(plan_.keys[KeyOf(due.index, plan_.keys.size())].id);
    item.set_digest(digest.data(), digest.size());
  }
  stream.call->Write(stream.request, Begin(stream.write));
}

absl::Status StreamTransport::ReceiveBlocking(MonotonicTime until) {
  ReceiveCompletions(until);
  return absl::OkStatus();
}

void StreamTransport::ReceiveCompletions(MonotonicTime until) {
  const std::vector<Completion>& completions = completions_.TakeBlocking(until, clock_);
  MonotonicTime now = clock_.Now();
  for (const Completion& completion : completions) OnCompletion(completion, now);
}

void StreamTransport::OnCompletion(const Completion& completion, MonotonicTime now) {
  Operation& operation = *static_cast<Operation*>(completion.tag);
  Stream& stream = *operation.stream;
  operation.under_way = false;
  if (operation.kind == Operation::Kind::kFinish) {
    stream.state = State::kDown;
    return;
  }
  if (!completion.ok || stream.state == State::kBroken) {
    return Break(stream, "the stream was ended");
  }
  if (operation.kind == Operation::Kind::kStart) stream.state = State::kOpen;
  if (operation.kind == Operation::Kind::kRead) OnResponse(stream, now);
  if (operation.kind != Operation::Kind::kWrite) {
    stream.call->Read(&stream.response, Begin(stream.read));
  }
  CheckReady(stream);
}

void StreamTransport::OnResponse(Stream& stream, MonotonicTime now) {
  for (const v1::SignStreamResult& result : stream.response.results()) {
    if (result.ref() >= stream.items.size() || !stream.items[result.ref()]) {
      continue;  // not asked for; what was asked for instead stays unanswered, and is dropped
    }
    std::size_t place = static_cast<std::size_t>(result.ref());
    OnResult(*stream.items[place], result, now);
    stream.items[place].reset();
    stream.free.push_back(place);
  }
}

void StreamTransport::OnResult(const DueRequest& item, const v1::SignStreamResult& result,
                               MonotonicTime now) {
  std::optional<RecoverableSignature> signature;
  if (result.has_ok()) signature = SignatureOf(result.ok());
  if (signature) {
    book_.Answered(item, *signature, now);
  } else if (result.has_error()) {
    book_.Failed(item, result.error().code(), result.error().message(), now);
  } else {
    book_.Malformed(item, "a result without a signature");
  }
}

// Books the items of a stream that has failed as dropped, and asks for its status when nothing else
// is under way.
void StreamTransport::Break(Stream& stream, std::string_view why) {
  if (stream.state != State::kBroken) {
    stream.state = State::kBroken;
    stream.context->TryCancel();
    std::erase(ready_, &stream);
    stream.ready = false;
    for (std::optional<DueRequest>& item : stream.items) {
      if (item) book_.Dropped(*item, why);
      item.reset();
    }
  }
  if (!stream.AnythingUnderWay()) stream.call->Finish(&stream.status, Begin(stream.finish));
}

void StreamTransport::CheckReady(Stream& stream) {
  bool can_send =
      stream.state == State::kOpen && !stream.write.under_way && stream.free.size() >= batch_;
  if (!can_send || stream.ready) return;
  stream.ready = true;
  ready_.push_back(&stream);
}

void StreamTransport::Reconnect() {
  if (given_up_) return;
  for (const std::unique_ptr<Stream>& stream : streams_) {
    if (stream->state != State::kDown) continue;
    Start(*stream);
    book_.CountReconnect();
  }
}

bool StreamTransport::AnythingUnderWay() const {
  for (const std::unique_ptr<Stream>& stream : streams_) {
    if (stream->AnythingUnderWay()) return true;
  }
  return false;
}

void StreamTransport::GiveUp() {
  given_up_ = true;
  for (const std::unique_ptr<Stream>& stream : streams_) {
    if (stream->state == State::kDown) continue;
    if (stream->AnythingUnderWay()) Break(*stream, "no answer came in time");
  }
  while (AnythingUnderWay()) ReceiveCompletions(clock_.Now() + std::chrono::seconds(1));
}

}  // namespace

std::unique_ptr<Transport> MakeStreamTransport(const TransportPlan& plan, const Clock& clock,
                                               LoadBook& book) {
  return std::make_unique<StreamTransport>(plan, clock, book);
}

}  // namespace bulla
