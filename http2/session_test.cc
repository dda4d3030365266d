#include "http2/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "http2/limits.h"
#include "tests/fakes/http2_frames.h"

namespace bulla::http2 {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
namespace frames = http2_frames;

// What a session tells, in words.
class Recorder : public SessionEvents {
 public:
  void OnHeaders(StreamId stream, const HeaderBlock& headers) override {
    Note(stream, "headers " + std::string(headers.Find(":path").value_or(
                                  headers.Find(":status").value_or("?"))));
  }
  void OnData(StreamId stream, ByteSpan bytes) override { data[stream] += AsText(bytes); }
  void OnTrailers(StreamId stream, const HeaderBlock& trailers) override {
    Note(stream, "trailers " + std::string(trailers.Find("grpc-status").value_or("?")));
  }
  void OnEnd(StreamId stream) override { Note(stream, "end"); }
  void OnWritten(StreamId stream) override { Note(stream, "written"); }
  void OnClosed(StreamId stream, ErrorCode code) override {
    Note(stream, "closed " + std::to_string(static_cast<int>(code)));
  }
  void OnGoAway() override { Note(0, "goaway"); }

  std::vector<std::string> told;
  std::map<StreamId, std::string> data;

 private:
  void Note(StreamId stream, const std::string& what) {
    told.push_back(std::to_string(stream) + " " + what);
  }
};

Session::Options OptionsOf(Session::Role role) {
  Session::Options options;
  options.role = role;
  return options;
}

// A server and a peer that writes its frames by hand.
class ServerTest : public testing::Test {
 protected:
  ServerTest() { Start({.role = Session::Role::kServer}); }

  void Start(const Session::Options& options) {
    session.emplace(options, recorder, nullptr, now);
    Feed(frames::Hello() + frames::Frame(frames::kSettings, frames::kAck, 0, ""));
    Gather();
  }
  void Feed(std::string_view bytes) { session->Feed(AsBytes(bytes), now); }
  std::vector<frames::ParsedFrame> Gather() {
    std::string out;
    session->Gather(out, 1 << 30, now);
    return frames::Parse(out);
  }
  // Frames until the session is over; how many it took, `most` when it is not.
  template <typename Next>
  int FramesUntilOver(int most, Next next) {
    for (int i = 0; i < most; ++i) {
      Feed(next(i));
      Gather();
      if (session->over()) return i + 1;
    }
    return most;
  }
  void Ask(StreamId stream) { Feed(frames::Headers(stream, frames::RequestFields(), true)); }
  // A request is taken and answered.
  void ExpectServes(StreamId stream) {
    Ask(stream);
    EXPECT_THAT(recorder.told, Contains(std::to_string(stream) + " end"));
    const Header fields[] = {{":status", "200"}};
    session->Respond(stream, fields, true);
    bool answered = false;
    for (const auto& frame : Gather()) {
      answered |= frame.type == frames::kHeaders && frame.stream == stream;
    }
    EXPECT_TRUE(answered) << session->reason();
  }
  std::optional<std::uint32_t> ResetOf(const std::vector<frames::ParsedFrame>& said,
                                       StreamId stream) {
    for (const auto& frame : said) {
      if (frame.type == frames::kRstStream && frame.stream == stream) return frame.number();
    }
    return std::nullopt;
  }

  MonotonicTime now{hours(1)};
  Recorder recorder;
  std::optional<Session> session;
};

// ---- What it is for --------------------------------------------------------------------------

TEST_F(ServerTest, ARequestComesAndIsAnswered) {
  Feed(frames::Headers(1, frames::RequestFields("/a")) + frames::Data(1, "ques") +
       frames::Data(1, "tion", true));
  EXPECT_EQ(recorder.data[1], "question");
  const Header fields[] = {{":status", "200"}};
  session->Respond(1, fields, false);
  session->Send(1, AsBytes("answer"));
  const Header trailers[] = {{"grpc-status", "0"}};
  session->End(1, trailers);
  const auto said = Gather();
  ASSERT_EQ(said.size(), 3u);
  EXPECT_EQ(said[0].type, frames::kHeaders);
  EXPECT_EQ(said[1].payload, "answer");
  EXPECT_EQ(said[2].flags, frames::kEndHeaders | frames::kEndStream);
  EXPECT_THAT(recorder.told, ElementsAre("1 headers /a", "1 end", "1 closed 0"));
  EXPECT_EQ(session->memory_bytes(), 0u);
}

TEST_F(ServerTest, TrailersLeaveAnIdleStreamToo) {
  Feed(frames::Headers(1, frames::RequestFields()));
  const Header fields[] = {{":status", "200"}};
  session->Respond(1, fields, false);
  session->Send(1, AsBytes("a"));
  EXPECT_EQ(Gather().size(), 2u);
  EXPECT_THAT(recorder.told, Contains("1 written"));
  const Header trailers[] = {{"grpc-status", "0"}};
  session->End(1, trailers);
  const auto said = Gather();
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said[0].type, frames::kHeaders);
}

// nghttp2 drops HEADERS that are still to be sent when the stream is reset before they are.
TEST_F(ServerTest, AnEarlyAnswerArrivesBeforeTheRestOfTheRequestIsDeclined) {
  Feed(frames::Headers(1, frames::RequestFields()));
  const Header fields[] = {{":status", "200"}, {"grpc-status", "12"}};
  session->Respond(1, fields, true);
  const auto said = Gather();
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[0].type, frames::kHeaders);
  EXPECT_EQ(ResetOf(said, 1), static_cast<std::uint32_t>(ErrorCode::kNoError));
  Feed(frames::Data(1, "late"));
  EXPECT_EQ(recorder.data[1], "");
  ExpectServes(3);
}

TEST_F(ServerTest, APeerMaySendOnlyWhatIsConsumed) {
  Session::Options options = OptionsOf(Session::Role::kServer);
  options.stream_window_bytes = 100'000;
  options.connection_window_bytes = 100'000;
  Start(options);
  Feed(frames::Headers(1, frames::RequestFields()));
  for (int i = 0; i < 9; ++i) Feed(frames::Data(1, std::string(10'000, 'x')));
  EXPECT_THAT(Gather(), IsEmpty());
  EXPECT_EQ(session->memory_bytes(), 90'000u);
  session->Consume(1, 90'000);
  EXPECT_EQ(session->memory_bytes(), 0u);
  std::map<StreamId, std::uint32_t> more;
  for (const auto& frame : Gather()) {
    if (frame.type == frames::kWindowUpdate) more[frame.stream] += frame.number();
  }
  EXPECT_EQ(more[0], 90'000u);
  EXPECT_EQ(more[1], 90'000u);
}

TEST_F(ServerTest, WhatAClosedStreamHasNotConsumedIsTheOthersAgain) {
  Session::Options options = OptionsOf(Session::Role::kServer);
  options.connection_window_bytes = 100'000;
  Start(options);
  Feed(frames::Headers(1, frames::RequestFields()));
  for (int i = 0; i < 6; ++i) Feed(frames::Data(1, std::string(10'000, 'x')));
  Feed(frames::Frame(frames::kRstStream, 0, 1, frames::Number32(8)));
  EXPECT_EQ(session->memory_bytes(), 0u);
  std::uint32_t more = 0;
  for (const auto& frame : Gather()) {
    if (frame.type == frames::kWindowUpdate && frame.stream == 0) more += frame.number();
  }
  EXPECT_EQ(more, 60'000u);
}

// ---- Hostile: one stream ----------------------------------------------------------------------

TEST_F(ServerTest, MalformedHeadersEndTheirStreamAlone) {
  Ask(1);
  frames::Fields bad = frames::RequestFields();
  bad.emplace_back("Upper-Case", "x");
  Feed(frames::Headers(3, bad, true));
  EXPECT_EQ(ResetOf(Gather(), 3), static_cast<std::uint32_t>(ErrorCode::kProtocolError));
  EXPECT_THAT(recorder.told, ElementsAre("1 headers /test.Service/Unary", "1 end"));
  ExpectServes(5);
}

TEST_F(ServerTest, AHeaderListOverTheLimitEndsItsStreamAlone) {
  const std::size_t field = 100 + 5 + 32;
  frames::Fields fields = frames::RequestFields();
  std::size_t sum = 0;
  for (const auto& [name, value] : fields) sum += name.size() + value.size() + 32;
  while (sum + field <= limits::kHeaderListBytesMax) {
    fields.emplace_back("x-lon", std::string(100, 'v'));
    sum += field;
  }
  Feed(frames::Headers(1, fields, true));
  EXPECT_THAT(recorder.told, Contains("1 end"));
  fields.emplace_back("x-lon", std::string(100, 'v'));
  Feed(frames::Headers(3, fields, true));
  EXPECT_NE(ResetOf(Gather(), 3), std::nullopt);
  EXPECT_THAT(recorder.told, testing::Not(Contains("3 end")));
  ExpectServes(5);
}

// A field of 4 KB in the table, then thousands of references to it of one byte each.
TEST_F(ServerTest, AnHpackBombEndsItsStreamAndTakesNoMemory) {
  std::string block = frames::HeaderText(frames::RequestFields());
  block.append("\x40\x01x\x7f\x81\x1e", 6).append(4000, 'v');  // 127 + 0x1e * 128 + 1 - 1 = 3968
  block.resize(block.size() - (4000 - 3968));
  block.append(10'000, '\xbe');
  Feed(frames::Frame(frames::kHeaders, frames::kEndHeaders | frames::kEndStream, 1, block));
  EXPECT_NE(ResetOf(Gather(), 1), std::nullopt);
  EXPECT_THAT(recorder.told, IsEmpty());
  ExpectServes(3);
}

TEST_F(ServerTest, AWindowOverrunEndsItsStreamAlone) {
  Feed(frames::Headers(1, frames::RequestFields()));
  for (int i = 0; i < 5; ++i) Feed(frames::Data(1, std::string(16'000, 'x')));
  EXPECT_EQ(ResetOf(Gather(), 1), static_cast<std::uint32_t>(ErrorCode::kFlowControlError));
  ExpectServes(3);
}

TEST_F(ServerTest, WhatIsOverTheConnectionsMemoryEndsItsStreamAlone) {
  Session::Options options = OptionsOf(Session::Role::kServer);
  options.memory_bytes_max = 100'000;
  Start(options);
  for (StreamId stream = 1; stream <= 5; stream += 2) {
    Feed(frames::Headers(stream, frames::RequestFields()));
    for (int i = 0; i < 4; ++i) Feed(frames::Data(stream, std::string(10'000, 'x')));
  }
  EXPECT_LE(session->memory_bytes(), 100'000u);
  EXPECT_EQ(ResetOf(Gather(), 5), static_cast<std::uint32_t>(ErrorCode::kEnhanceYourCalm));
  EXPECT_EQ(recorder.data[1].size() + recorder.data[3].size(), 80'000u);
  ExpectServes(7);
}

TEST_F(ServerTest, AnAnswerThatIsNotTakenIsBoundedAndGivenUp) {
  Session::Options options = OptionsOf(Session::Role::kServer);
  options.memory_bytes_max = 1'000'000;
  Start(options);
  Feed(frames::Headers(1, frames::RequestFields(), true));
  const Header fields[] = {{":status", "200"}};
  session->Respond(1, fields, false);
  session->Send(1, std::vector<std::uint8_t>(500'000));
  Gather();  // 64 KiB are its window
  now += limits::kStalledStreamTimeout / 2;
  session->Tick(now);
  Feed(frames::WindowUpdate(1, 1000) + frames::WindowUpdate(0, 1000));
  EXPECT_FALSE(Gather().empty());
  now += limits::kStalledStreamTimeout / 2;
  session->Tick(now);  // it has taken some meanwhile
  EXPECT_EQ(ResetOf(Gather(), 1), std::nullopt);
  now += limits::kStalledStreamTimeout;
  session->Tick(now);
  EXPECT_EQ(ResetOf(Gather(), 1), static_cast<std::uint32_t>(ErrorCode::kEnhanceYourCalm));
  EXPECT_EQ(session->memory_bytes(), 0u);
  Feed(frames::Headers(3, frames::RequestFields(), true));
  session->Respond(3, fields, false);
  session->Send(3, std::vector<std::uint8_t>(1'000'001));
  EXPECT_EQ(ResetOf(Gather(), 3), static_cast<std::uint32_t>(ErrorCode::kEnhanceYourCalm));
}

TEST_F(ServerTest, StreamsOverTheLimitAreRefusedAndTheOthersServed) {
  // A client that has not read our SETTINGS: no ACK of them.
  session.emplace(Session::Options{.role = Session::Role::kServer, .streams_max = 3}, recorder,
                  nullptr, now);
  Feed(frames::Hello());
  for (StreamId stream = 1; stream <= 9; stream += 2) {
    Feed(frames::Headers(stream, frames::RequestFields()));
  }
  const auto said = Gather();
  EXPECT_EQ(session->streams(), 3u);
  EXPECT_EQ(ResetOf(said, 5), std::nullopt);
  EXPECT_EQ(ResetOf(said, 7), static_cast<std::uint32_t>(ErrorCode::kRefusedStream));
  EXPECT_EQ(ResetOf(said, 9), static_cast<std::uint32_t>(ErrorCode::kRefusedStream));
  Feed(frames::Data(5, "goes on", true));
  EXPECT_EQ(recorder.data[5], "goes on");
}

// ---- Hostile: the connection ------------------------------------------------------------------

TEST_F(ServerTest, RapidResetsEndTheConnection) {
  const int taken = FramesUntilOver(5000, [](int i) {
    return frames::Headers(2 * i + 1, frames::RequestFields(), true) +
           frames::Frame(frames::kRstStream, 0, 2 * i + 1, frames::Number32(8));
  });
  EXPECT_EQ(taken, static_cast<int>(limits::kPeerResetsBurst) + 1);
}

TEST_F(ServerTest, CallersWhoCancelNowAndThenDoNot) {
  for (int i = 0; i < 5000; ++i) {
    now += milliseconds(1000 / limits::kPeerResetsPerSecond);
    Feed(frames::Headers(2 * i + 1, frames::RequestFields(), true) +
         frames::Frame(frames::kRstStream, 0, 2 * i + 1, frames::Number32(8)));
    Gather();
    ASSERT_FALSE(session->over()) << i << ": " << session->reason();
  }
}

TEST_F(ServerTest, StreamsMadeToBeResetEndTheConnection) {
  frames::Fields bad = frames::RequestFields();
  bad.emplace_back("Upper-Case", "x");
  const int malformed =
      FramesUntilOver(5000, [&](int i) { return frames::Headers(2 * i + 1, bad, true); });
  EXPECT_EQ(malformed, static_cast<int>(limits::kOwnResetsBurst) + 1);

  Start(OptionsOf(Session::Role::kServer));
  const int overrun = FramesUntilOver(5000, [&](int i) {
    return frames::Headers(2 * i + 1, frames::RequestFields()) +
           frames::WindowUpdate(2 * i + 1, 0x7fffffff);
  });
  EXPECT_EQ(overrun, static_cast<int>(limits::kOwnResetsBurst) + 1);
}

TEST_F(ServerTest, AFloodOfContinuationsEndsTheConnection) {
  Feed(frames::Frame(frames::kHeaders, frames::kEndStream, 1, ""));
  const int taken =
      FramesUntilOver(5000, [](int) { return frames::Frame(frames::kContinuation, 0, 1, ""); });
  EXPECT_LE(taken, static_cast<int>(limits::kContinuationsMax) + 1);
}

TEST_F(ServerTest, FramesThatBringNothingEndTheConnection) {
  const std::vector<std::string> nothing = {
      frames::Data(1, ""),
      frames::Frame(frames::kData, frames::kPadded, 1, std::string("\x03\0\0\0", 4)),
      frames::WindowUpdate(1, 1),
      frames::WindowUpdate(0, 1),
      frames::Frame(frames::kPriority, 0, 1, std::string("\0\0\0\0\x10", 5)),
      frames::Frame(frames::kPing, 0, 0, std::string(8, 'p')),
      frames::Frame(frames::kPing, frames::kAck, 0, std::string(8, 'p')),
      frames::Frame(frames::kSettings, 0, 0, ""),
      frames::Frame(frames::kUnknown, 0, 1, "what?"),
  };
  for (const std::string& frame : nothing) {
    Start(OptionsOf(Session::Role::kServer));
    Feed(frames::Headers(1, frames::RequestFields()));
    const int taken = FramesUntilOver(5000, [&](int) { return frame; });
    EXPECT_NEAR(taken, static_cast<int>(limits::kIdleFramesBurst), 10) << int{frame[3]};
    EXPECT_EQ(session->memory_bytes(), 0u);
  }
}

TEST_F(ServerTest, AtAnHonestRateTheyDoNot) {
  for (int i = 0; i < 10'000; ++i) {
    now += seconds(1);
    Feed(frames::Frame(frames::kPing, 0, 0, std::string(8, 'p')));
    Gather();
    ASSERT_FALSE(session->over()) << i;
  }
  Feed(frames::Headers(1, frames::RequestFields()));
  for (int i = 0; i < 10'000; ++i) {  // beside data, without a pause
    Feed(frames::Data(1, "data") + frames::WindowUpdate(0, 4) + frames::WindowUpdate(1, 4));
    session->Consume(1, 4);
    Gather();
    ASSERT_FALSE(session->over()) << i << ": " << session->reason();
  }
}

TEST_F(ServerTest, AcksThatAreNotReadEndTheConnection) {
  for (int i = 0; i < 1000 && !session->over(); ++i) {
    Feed(frames::Frame(frames::kPing, 0, 0, std::string(8, 'p')));
  }
  EXPECT_TRUE(session->over());
}

TEST_F(ServerTest, ManySettingsInAFrameEndTheConnection) {
  std::string settings;
  for (std::size_t i = 0; i <= limits::kSettingsMax; ++i) {
    settings.append(std::string("\0\x03\0\0\0\x64", 6));
  }
  Feed(frames::Frame(frames::kSettings, 0, 0, settings));
  Gather();
  EXPECT_TRUE(session->over());
}

TEST_F(ServerTest, WhatIsNoHttp2EndsTheConnection) {
  session.emplace(OptionsOf(Session::Role::kServer), recorder, nullptr, now);
  Feed("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(session->over());
  EXPECT_FALSE(session->reason().ok());
}

// ---- Time ------------------------------------------------------------------------------------

TEST_F(ServerTest, ASilentPeerIsGivenUp) {
  session.emplace(OptionsOf(Session::Role::kServer), recorder, nullptr, now);
  Feed(std::string_view(frames::kPreface).substr(0, 10));
  Gather();
  const milliseconds timeout = OptionsOf(Session::Role::kServer).handshake_timeout;
  EXPECT_EQ(session->Tick(now + timeout - milliseconds(1)), now + timeout);
  EXPECT_FALSE(session->over());
  session->Tick(now + timeout);
  Gather();
  EXPECT_TRUE(session->over());
}

TEST_F(ServerTest, AHeaderBlockThatDoesNotEndIsGivenUp) {
  const std::string headers = frames::Headers(1, frames::RequestFields(), true);
  Feed(std::string_view(headers).substr(0, 20));
  for (std::size_t i = 20; i + 1 < headers.size() && !session->over(); ++i) {
    now += limits::kHeaderTimeout / 10;
    Feed(std::string_view(headers).substr(i, 1));
    session->Tick(now);
    Gather();
    ASSERT_LT(i, 40u);
  }
  EXPECT_TRUE(session->over());
}

TEST_F(ServerTest, AnIdleConnectionIsGivenUpAndABusyOneIsNot) {
  Session::Options options = OptionsOf(Session::Role::kServer);
  options.idle_timeout = seconds(60);
  Start(options);
  Feed(frames::Headers(1, frames::RequestFields()));
  now += seconds(600);
  session->Tick(now);
  EXPECT_FALSE(session->over());
  Feed(frames::Frame(frames::kRstStream, 0, 1, frames::Number32(8)));
  now += seconds(59);
  session->Tick(now);
  Gather();
  EXPECT_FALSE(session->over());
  now += seconds(1);
  session->Tick(now);
  Gather();
  EXPECT_TRUE(session->over());
}

TEST_F(ServerTest, APeerThatDoesNotAnswerAPingIsGivenUp) {
  Session::Options options = OptionsOf(Session::Role::kServer);
  options.keepalive_interval = seconds(5);
  options.keepalive_timeout = seconds(2);
  Start(options);
  now += seconds(5);
  EXPECT_EQ(session->Tick(now), now + seconds(2));
  const auto said = Gather();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].type, frames::kPing);
  now += seconds(1);
  Feed(frames::Frame(frames::kPing, frames::kAck, 0, said[0].payload));
  now += seconds(1);
  EXPECT_EQ(session->Tick(now), now + seconds(4));  // it has answered
  now += seconds(4);
  session->Tick(now);
  Gather();
  now += seconds(2);
  session->Tick(now);
  EXPECT_TRUE(session->over());
  EXPECT_TRUE(absl::IsUnavailable(session->reason()));
}

// ---- The end ---------------------------------------------------------------------------------

TEST_F(ServerTest, ADrainTakesWhatWasAskedBeforeItWasKnownAndFinishesIt) {
  Ask(1);
  session->Drain();
  auto said = Gather();
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[0].type, frames::kGoAway);
  EXPECT_EQ(said[0].number(), 0x7fffffffu);
  Ask(3);  // was on its way
  Feed(frames::Frame(frames::kPing, frames::kAck, 0, said[1].payload));
  said = Gather();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].number(), 3u);
  Ask(5);  // is not taken
  EXPECT_THAT(recorder.told, testing::Not(Contains("5 end")));
  const Header fields[] = {{":status", "200"}};
  session->Respond(1, fields, true);
  Gather();
  EXPECT_FALSE(session->over());
  session->Respond(3, fields, true);
  Gather();
  EXPECT_TRUE(session->over());
  EXPECT_TRUE(session->reason().ok()) << session->reason();
}

TEST_F(ServerTest, ADrainDoesNotWaitForAPeerThatDoesNotAnswerIt) {
  session->Drain();
  Gather();
  EXPECT_FALSE(session->over());
  now += limits::kDrainNoticeTimeout;
  session->Tick(now);
  Gather();
  EXPECT_TRUE(session->over());
}

// ---- A client and a server of ours --------------------------------------------------------------

class PairTest : public testing::Test {
 protected:
  void Pump() {
    for (int i = 0; i < 100; ++i) {
      std::string up, down;
      client.Gather(up, 1 << 30, now);
      server.Gather(down, 1 << 30, now);
      if (up.empty() && down.empty()) return;
      server.Feed(AsBytes(up), now);
      client.Feed(AsBytes(down), now);
    }
  }
  StreamId Open(bool end = true) {
    const Header request[] = {
        {":method", "POST"}, {":scheme", "http"}, {":path", "/a"}, {":authority", "x"}};
    const absl::StatusOr<StreamId> stream = client.Open(request, end);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.value_or(0);
  }

  MonotonicTime now{hours(1)};
  Recorder client_told, server_told;
  Session client{OptionsOf(Session::Role::kClient), client_told, nullptr, now};
  Session server{OptionsOf(Session::Role::kServer), server_told, nullptr, now};
};

TEST_F(PairTest, LargeDataPassesWindowsBothWays) {
  const StreamId stream = Open(false);
  const std::string megabyte(1'000'000, 'm');
  client.Send(stream, AsBytes(megabyte));
  client.End(stream);
  const Header fields[] = {{":status", "200"}};
  server_told.told.clear();
  for (int i = 0; i < 200 && server_told.data[stream].size() < megabyte.size(); ++i) {
    Pump();
    server.Consume(stream, 1 << 20);
  }
  EXPECT_EQ(server_told.data[stream], megabyte);
  server.Respond(stream, fields, false);
  server.Send(stream, AsBytes(megabyte));
  server.End(stream);
  for (int i = 0; i < 200 && client_told.data[stream].size() < megabyte.size(); ++i) {
    Pump();
    client.Consume(stream, 1 << 20);
  }
  EXPECT_EQ(client_told.data[stream], megabyte);
  EXPECT_THAT(client_told.told, ElementsAre("1 written", "1 headers 200", "1 end", "1 closed 0"));
}

TEST_F(PairTest, AResetReachesTheOtherSide) {
  const StreamId stream = Open(false);
  Pump();
  client.Reset(stream, ErrorCode::kCancel);
  Pump();
  EXPECT_THAT(client_told.told, ElementsAre("1 closed 8"));
  EXPECT_THAT(server_told.told, ElementsAre("1 headers /a", "1 closed 8"));
  EXPECT_EQ(client.streams() + server.streams(), 0u);
}

TEST_F(PairTest, AfterAGoAwayNothingIsOpenedAndWhatIsOpenGoesOn) {
  const StreamId stream = Open();
  Pump();
  server.Drain();
  Pump();
  EXPECT_THAT(client_told.told, ElementsAre("0 goaway"));
  EXPECT_FALSE(client.accepts_streams());
  const Header request[] = {{":method", "POST"}};
  EXPECT_TRUE(absl::IsUnavailable(client.Open(request, true).status()));
  const Header fields[] = {{":status", "200"}};
  server.Respond(stream, fields, true);
  Pump();
  EXPECT_THAT(client_told.told, ElementsAre("0 goaway", "1 headers 200", "1 end", "1 closed 0"));
  EXPECT_TRUE(client.over());
  EXPECT_TRUE(server.over());
}

// What was opened and had not left when the peer said that it takes no more.
TEST_F(PairTest, AStreamThatTheGoAwayOvertakesIsTold) {
  Pump();
  server.Drain();
  now += limits::kDrainNoticeTimeout;
  std::string up, down;
  server.Gather(down, 1 << 30, now);
  server.Tick(now);
  server.Gather(down, 1 << 30, now);
  const StreamId stream = Open();
  client.Feed(AsBytes(down), now);
  Pump();
  EXPECT_THAT(client_told.told,
              Contains(std::to_string(stream) + " closed " +
                       std::to_string(static_cast<int>(ErrorCode::kRefusedStream))));
  EXPECT_EQ(client.streams(), 0u);
}

TEST_F(PairTest, OutputIsToldOfOnceThereIsSome) {
  int told = 0;
  Recorder recorder;
  Session session(
      OptionsOf(Session::Role::kClient), recorder, [&] { ++told; }, now);
  std::string out;
  session.Gather(out, 1 << 20, now);
  EXPECT_EQ(told, 0);
  const Header request[] = {
      {":method", "POST"}, {":scheme", "http"}, {":path", "/a"}, {":authority", "x"}};
  const StreamId stream = *session.Open(request, false);
  EXPECT_EQ(told, 1);
  session.Send(stream, AsBytes("x"));
  EXPECT_EQ(told, 2);
}

}  // namespace
}  // namespace bulla::http2
