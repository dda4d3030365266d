// Any bytes as what a peer sends, to gRPC's server and to its client: no crash, no memory beyond
// the bounds, every call told its end once. The first byte is how the rest is cut in pieces; the
// client has two calls under way.

#include <cstdint>
#include <memory>
#include <string>

#include "base/check.h"
#include "http2/grpc_client.h"
#include "http2/grpc_server.h"
#include "http2/limits.h"
#include "tests/fakes/grpc_echo.h"
#include "tests/fakes/http2_frames.h"

namespace bulla::http2 {
namespace {

constexpr std::size_t kMemoryBytesMax = 200'000;

class CountedCall final : public GrpcCallEvents {
 public:
  void OnMessage(ByteSpan) override { BULLA_CHECK(!done, "nothing comes after the end"); }
  void OnWritten() override {}
  void OnDone(const GrpcStatus&) override {
    BULLA_CHECK(!done, "an end is told once");
    done = true;
  }
  bool done = false;
};

Session::Options OptionsOf(Session::Role role) {
  Session::Options options;
  options.role = role;
  options.memory_bytes_max = kMemoryBytesMax;
  return options;
}

void FeedAll(Session& session, Protocol& protocol, ByteSpan bytes, std::size_t piece,
             MonotonicTime now) {
  std::string out;
  while (!session.over()) {
    const ByteSpan part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    now += std::chrono::milliseconds(1);
    session.Feed(part, now);
    session.Tick(now);
    protocol.Tick(now);
    out.clear();
    session.Gather(out, limits::kGatherBytesMax, now);
    BULLA_CHECK(session.memory_bytes() <= kMemoryBytesMax, "memory is bounded");
    BULLA_CHECK(out.size() <= limits::kGatherBytesMax + 20'000, "output is bounded");
    if (bytes.empty()) break;
  }
  protocol.OnOver(session.reason());
}

void TryServer(ByteSpan bytes, std::size_t piece) {
  GrpcMethods methods;
  methods.AddUnary("/a", [](GrpcServer& server, const GrpcRequest& request, ByteSpan message) {
    server.Answer(request.stream, message);
  });
  methods.AddStream("/b", [](GrpcServer& server, const GrpcRequest& request) {
    return std::make_unique<Echo>(server, request.stream);
  });
  const MonotonicTime now{std::chrono::hours(1)};
  GrpcServer server({.message_bytes_max = 50'000, .partial_bytes_max = 100'000}, methods);
  Session session(OptionsOf(Session::Role::kServer), server, nullptr, now);
  server.Attach(session, nullptr);
  session.Feed(AsBytes(http2_frames::Hello()), now);
  FeedAll(session, server, bytes, piece, now);
  BULLA_CHECK(server.calls() == 0, "no call outlives its connection");
}

void TryClient(ByteSpan bytes, std::size_t piece) {
  const MonotonicTime now{std::chrono::hours(1)};
  CountedCall call;
  int unary_done = 0;
  GrpcClient client({.authority = "x", .message_bytes_max = 50'000});
  Session session(OptionsOf(Session::Role::kClient), client, nullptr, now);
  client.Attach(session, nullptr);
  client.Unary("/a", AsBytes("x"), std::chrono::milliseconds(5), now,
               [&](const GrpcStatus&, ByteSpan) { ++unary_done; });
  const std::optional<StreamId> stream = client.Start("/b", std::nullopt, now, call);
  client.Write(*stream, AsBytes("y"));
  FeedAll(session, client, bytes, piece, now);
  BULLA_CHECK(call.done && unary_done == 1, "every call is told its end");
}

}  // namespace
}  // namespace bulla::http2

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] == 0 ? size : data[0];
  const bulla::ByteSpan bytes(data + 1, size - 1);
  bulla::http2::TryServer(bytes, piece);
  bulla::http2::TryClient(bytes, piece);
  return 0;
}
