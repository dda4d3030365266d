#include "gateway/link/http2_transport.h"

#include <atomic>
#include <filesystem>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>

#include "base/await.h"
#include "base/mutex.h"
#include "base/unlock_cause.h"
#include "tests/fakes/fake_enclave.h"
#include "wire/enclave.pb.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// What a frame connection tells.
class Record final : public FrameEvents {
 public:
  void OnReplies(ReplyBatch& batch) override { replies += batch.signs.size(); }
  void OnWriteDone(bool ok) override { ++(ok ? written : not_written); }
  void OnBroken() override { ++broken; }
  void OnClosed() override { ++closed; }

  std::atomic<std::size_t> replies{0};
  std::atomic<int> written{0}, not_written{0}, broken{0}, closed{0};
};

class Http2TransportTest : public testing::Test {
 protected:
  Http2TransportTest() {
    char name[] = "/tmp/bulla-transport-XXXXXX";
    dir_ = ::mkdtemp(name);
    address = *Address::Parse("unix:" + dir_ + "/e");
    enclave = std::make_unique<FakeEnclave>(address);
    transport = std::make_unique<Http2Transport>(clock);
  }
  ~Http2TransportTest() override {
    transport.reset();
    enclave.reset();
    std::filesystem::remove_all(dir_);
  }

  std::unique_ptr<FrameConnection> DialFrames() {
    absl::StatusOr<std::unique_ptr<FrameConnection>> dialled =
        transport->DialFramesBlocking(address);
    EXPECT_TRUE(dialled.ok()) << dialled.status();
    return *std::move(dialled);
  }
  std::shared_ptr<ControlConnection> DialControl() {
    absl::StatusOr<std::shared_ptr<ControlConnection>> dialled =
        transport->DialControlBlocking(address);
    EXPECT_TRUE(dialled.ok()) << dialled.status();
    return *std::move(dialled);
  }
  static RequestBatch BatchOf(std::size_t signs) {
    RequestBatch batch;
    for (std::size_t i = 0; i < signs; ++i) {
      batch.signs.push_back({.sequence = static_cast<std::uint32_t>(i), .budget_us = 1'000'000});
    }
    return batch;
  }
  // Of a data key, which the enclave can be made to sit on.
  static wire::v1::UnlockRequest UnlockOf() {
    wire::v1::UnlockRequest request;
    request.mutable_open()->set_dek_id(std::string(DekId::kBytes, 'd'));
    return request;
  }
  template <typename Condition>
  static void Wait(Condition condition) {
    EXPECT_TRUE(AwaitBlocking(seconds(10), condition));
  }
  // To its end, as a stream's owner has to.
  static void End(FrameConnection& connection, Record& record) {
    connection.Close();
    Wait([&] { return record.broken == 1; });
    connection.Finish();
    Wait([&] { return record.closed == 1; });
  }
  template <typename Reply>
  static std::pair<ControlConnection::Done<Reply>, std::future<absl::StatusOr<Reply>>> Promise() {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Reply>>>();
    auto future = promise->get_future();
    return {[promise](absl::StatusOr<Reply> reply) { promise->set_value(std::move(reply)); },
            std::move(future)};
  }

  const RealClock clock;
  std::string dir_;
  Address address;
  std::unique_ptr<FakeEnclave> enclave;
  std::unique_ptr<Http2Transport> transport;
};

TEST_F(Http2TransportTest, FramesGoOutAndRepliesComeBack) {
  Record record;
  const std::unique_ptr<FrameConnection> connection = DialFrames();
  connection->Start(record);
  for (int i = 1; i <= 50; ++i) {
    connection->Write(BatchOf(kFrameSignsMax));
    Wait([&] { return record.written == i; });
  }
  Wait([&] { return record.replies == 50 * kFrameSignsMax; });
  End(*connection, record);
  EXPECT_EQ(record.not_written, 0);
}

TEST_F(Http2TransportTest, AWriteBeforeAnythingElseLeaves) {
  Record record;
  const std::unique_ptr<FrameConnection> connection = DialFrames();
  connection->Start(record);
  connection->Write(BatchOf(1));
  Wait([&] { return record.replies == 1; });
  End(*connection, record);
}

TEST_F(Http2TransportTest, ABrokenConnectionTellsSoOnceAndEachWriteItsEnd) {
  Record record;
  const std::unique_ptr<FrameConnection> connection = DialFrames();
  connection->Start(record);
  connection->Write(BatchOf(1));
  Wait([&] { return record.replies == 1; });
  enclave.reset();
  Wait([&] { return record.broken == 1; });
  connection->Write(BatchOf(1));  // had begun when it was told
  Wait([&] { return record.not_written == 1; });
  connection->Close();
  End(*connection, record);
  EXPECT_EQ(record.broken, 1);
}

TEST_F(Http2TransportTest, AStreamThatTheEnclaveEndsIsBroken) {
  enclave->SetScript([](const RequestBatch&, ReplyBatch&) { return false; });
  Record record;
  const std::unique_ptr<FrameConnection> connection = DialFrames();
  connection->Start(record);
  connection->Write(BatchOf(1));
  Wait([&] { return record.broken == 1; });
  End(*connection, record);
}

TEST_F(Http2TransportTest, ACallIsAnsweredOrFailsWithItsCause) {
  const std::shared_ptr<ControlConnection> control = DialControl();
  auto [hello_done, hello] = Promise<wire::v1::HelloReply>();
  control->Hello({}, seconds(10), hello_done);
  const absl::StatusOr<wire::v1::HelloReply> greeted = hello.get();
  ASSERT_TRUE(greeted.ok()) << greeted.status();
  EXPECT_EQ(greeted->protocol_version(), kWireProtocolVersion);

  enclave->RefuseUnlocks(UnlockCause::kAccessDenied);
  wire::v1::UnlockRequest request;
  request.set_new_sealing_dek(true);
  auto [unlock_done, unlock] = Promise<wire::v1::UnlockReply>();
  control->Unlock(request, seconds(10), unlock_done);
  const absl::Status refused = unlock.get().status();
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_EQ(CauseOf(refused), UnlockCause::kAccessDenied);
}

TEST_F(Http2TransportTest, ACallThatIsNotAnsweredEndsAtItsTimeout) {
  enclave->HoldUnlocks(true);
  const std::shared_ptr<ControlConnection> control = DialControl();
  auto [done, unlock] = Promise<wire::v1::UnlockReply>();
  control->Unlock(UnlockOf(), milliseconds(50), done);
  EXPECT_TRUE(absl::IsDeadlineExceeded(unlock.get().status()));
  enclave->HoldUnlocks(false);
}

TEST_F(Http2TransportTest, CancelAllEndsCallsUnderWayAndLaterOnes) {
  enclave->HoldUnlocks(true);
  const std::shared_ptr<ControlConnection> control = DialControl();
  auto [done, unlock] = Promise<wire::v1::UnlockReply>();
  control->Unlock(UnlockOf(), seconds(10), done);
  Wait([&] { return enclave->unlocks_begun() == 1; });
  control->CancelAll();
  EXPECT_TRUE(absl::IsCancelled(unlock.get().status()));
  auto [late_done, late] = Promise<wire::v1::ProbeReply>();
  control->Probe({}, seconds(10), late_done);
  EXPECT_TRUE(absl::IsCancelled(late.get().status()));
  enclave->HoldUnlocks(false);
}

TEST_F(Http2TransportTest, CallsOfALostConnectionFailAtOnce) {
  const std::shared_ptr<ControlConnection> control = DialControl();
  auto [first_done, first] = Promise<wire::v1::ProbeReply>();
  control->Probe({}, seconds(10), first_done);
  EXPECT_TRUE(first.get().ok());
  enclave.reset();
  auto [done, probe] = Promise<wire::v1::ProbeReply>();
  control->Probe({}, seconds(10), done);
  EXPECT_TRUE(absl::IsUnavailable(probe.get().status()));
}

TEST_F(Http2TransportTest, NobodyThereIsUnavailable) {
  enclave.reset();
  EXPECT_TRUE(absl::IsUnavailable(transport->DialControlBlocking(address).status()));
  EXPECT_TRUE(absl::IsUnavailable(transport->DialFramesBlocking(address).status()));
}

}  // namespace
}  // namespace bulla
