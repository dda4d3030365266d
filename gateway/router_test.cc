#include "gateway/router.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <map>
#include <thread>

#include "tests/fakes/fake_enclave.h"
#include "tests/fakes/fake_key_store.h"

namespace bulla {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A signature that a test asked for, waited for on the test's own thread.
class TestCall final : public SignCall, public CallHome {
 public:
  TestCall(const KeyId& id, std::uint8_t digest_byte, Duration time_left = seconds(30)) {
    key_id = id;
    digest[0] = digest_byte;
    deadline = RealClock().Now() + time_left;
    home = this;
  }
  void Deliver(SignCall* first) override {
    for (SignCall* call = first; call != nullptr;) {
      SignCall* next_call = call->next;
      static_cast<TestCall*>(call)->Finish();
      call = next_call;
    }
  }
  ErrorCode Wait() {
    MutexLock lock(mutex_);
    changed_.Wait(mutex_, [this]() BULLA_NO_THREAD_SAFETY_ANALYSIS { return finished_; });
    return error;
  }

 private:
  void Finish() {
    MutexLock lock(mutex_);
    finished_ = true;
    changed_.NotifyAll();
  }
  Mutex mutex_;
  CondVar changed_;
  bool finished_ BULLA_GUARDED_BY(mutex_) = false;
};

// A router with real links to fake enclaves, and a ticker as the gateway has one.
class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    char name[] = "/tmp/bulla-router-XXXXXX";
    dir_ = ::mkdtemp(name);
    std::ofstream(dir_ + "/credentials.json")
        << R"({"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "example"})";
  }
  ~RouterTest() override {
    if (router_ != nullptr) router_->Stop();
    ticking_ = false;
    if (ticker_.joinable()) ticker_.join();
    router_.reset();
    enclaves_.clear();
    std::filesystem::remove_all(dir_);
  }

  Address AddressOf(int enclave) const {
    return *Address::Parse("unix:" + dir_ + "/e" + std::to_string(enclave));
  }
  void StartEnclave(int enclave) {
    enclaves_[enclave] = std::make_unique<FakeEnclave>(AddressOf(enclave));
  }
  void StartRouter(int enclaves) {
    Router::Options options{.streams_per_enclave = 2,
                            .credentials_file = dir_ + "/credentials.json"};
    for (int i = 0; i < enclaves; ++i) options.enclaves.push_back(AddressOf(i));
    router_ = std::make_unique<Router>(options, store_, metrics_, clock_);
    router_->Start();
    ticker_ = std::thread([this] {
      while (ticking_) {
        router_->Tick(clock_.Now());
        std::this_thread::yield();
      }
    });
  }
  template <typename Condition>
  void WaitUntil(Condition condition) {
    while (!condition()) std::this_thread::yield();  // ctest's time-out is the bound
  }
  void StartAll(int enclaves) {
    for (int i = 0; i < enclaves; ++i) StartEnclave(i);
    StartRouter(enclaves);
    WaitUntil([&] { return router_->links_ready() == static_cast<std::size_t>(enclaves); });
  }

  std::pair<Error, KeyRow> Create(std::string idempotency_key = "") {
    std::promise<std::pair<Error, KeyRow>> made;
    router_->Create(
        {.idempotency_key = std::move(idempotency_key), .deadline = clock_.Now() + seconds(30)},
        [&](Error error, const KeyRow& row) {
          made.set_value({error, row});
        });
    return made.get_future().get();
  }
  ErrorCode Sign(const KeyId& key_id, std::uint8_t digest_byte = 1) {
    TestCall call(key_id, digest_byte);
    router_->Sign(&call);
    ErrorCode error = call.Wait();
    if (error == ErrorCode::kOk) {
      EXPECT_EQ(call.signature, FakeEnclave::SignatureOf(call.digest));
    }
    return error;
  }

  std::string dir_;
  const RealClock clock_{};
  Metrics metrics_;
  FakeKeyStore store_;
  std::map<int, std::unique_ptr<FakeEnclave>> enclaves_;
  std::unique_ptr<Router> router_;
  std::atomic<bool> ticking_{true};
  std::thread ticker_;
};

TEST_F(RouterTest, ACreatedKeySigns) {
  StartAll(1);
  auto [error, row] = Create();
  ASSERT_TRUE(error.ok()) << error.Message();
  EXPECT_EQ(Sign(row.key_id), ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->blobs_loaded(), 0) << "the enclave that made it has it";
}

TEST_F(RouterTest, TheSealingDekIsDurableBeforeTheLinkIsReady) {
  StartEnclave(0);
  store_.FailWith(absl::UnavailableError("disk full"));
  StartRouter(1);
  WaitUntil([&] { return !router_->LinkStatuses()[0].last_error.empty(); });
  EXPECT_EQ(router_->links_ready(), 0u);
  EXPECT_EQ(Create().first.code, ErrorCode::kUnavailable);
  store_.FailWith(absl::OkStatus());
  WaitUntil([&] { return router_->links_ready() == 1; });
  EXPECT_EQ(store_.dek_count(), 1u);
}

TEST_F(RouterTest, ManyCallsAtOnceAreEachAnsweredWithTheirOwnSignature) {
  StartAll(2);
  std::vector<KeyId> keys;
  for (int i = 0; i < 20; ++i) keys.push_back(Create().second.key_id);
  std::vector<std::unique_ptr<TestCall>> calls;
  for (int i = 0; i < 400; ++i) {
    calls.push_back(std::make_unique<TestCall>(keys[static_cast<std::size_t>(i) % keys.size()],
                                               static_cast<std::uint8_t>(i)));
    if (i > 0) calls[static_cast<std::size_t>(i) - 1]->next = calls.back().get();
  }
  router_->Sign(calls.front().get());
  for (auto& call : calls) {
    ASSERT_EQ(call->Wait(), ErrorCode::kOk);
    EXPECT_EQ(call->signature, FakeEnclave::SignatureOf(call->digest));
  }
  EXPECT_LT(enclaves_[0]->frames() + enclaves_[1]->frames(), 20 + 100) << "they travel in frames";
}

TEST_F(RouterTest, ARestartedEnclaveGetsTheBlobBeforeTheRepeatedCall) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  DekId old_dek = enclaves_[0]->sealing_dek();
  enclaves_[0].reset();
  WaitUntil([&] { return router_->links_ready() == 0; });
  StartEnclave(0);
  WaitUntil([&] { return router_->links_ready() == 1 && router_->unlocks_pending() == 0; });
  EXPECT_NE(enclaves_[0]->sealing_dek(), old_dek);
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1; });
  EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->blobs_loaded(), 1);
  EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->blobs_loaded(), 1) << "once is enough";
}

TEST_F(RouterTest, ADekThatIsNotOpenIsUnlockedInTheBackgroundOnce) {
  StartAll(1);
  DekId foreign = DekId::New({});
  KeyRow row{.key_id = KeyId::New({}), .dek_id = foreign};
  row.blob = FakeBlob(row.key_id, foreign);
  store_.PutDek({.dek_id = foreign, .wrapped = {1}}, [](absl::Status) {});
  store_.PutKey(row, [](absl::StatusOr<KeyRow>) {});
  enclaves_[0]->FailUnlocks(2);
  EXPECT_EQ(Sign(row.key_id), ErrorCode::kUnlockRequired);
  ErrorCode error = ErrorCode::kUnlockRequired;
  WaitUntil([&] { return (error = Sign(row.key_id)) != ErrorCode::kUnlockRequired; });
  EXPECT_EQ(error, ErrorCode::kOk);
  EXPECT_EQ(enclaves_[0]->deks_opened(), 1);
}

TEST_F(RouterTest, SiblingsOpenADekAsSoonAsOneKeyIsSealedUnderIt) {
  StartAll(2);
  EXPECT_EQ(enclaves_[0]->deks_opened() + enclaves_[1]->deks_opened(), 0);
  for (int i = 0; i < 50; ++i) Create();
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  EXPECT_EQ(router_->unlocks_pending(), 0u);
}

TEST_F(RouterTest, WhenItsEnclaveIsGoneAKeySignsInTheSibling) {
  StartAll(2);
  std::vector<KeyId> keys;
  for (int i = 0; i < 30; ++i) keys.push_back(Create().second.key_id);
  WaitUntil([&] { return enclaves_[0]->deks_opened() == 1 && enclaves_[1]->deks_opened() == 1; });
  enclaves_[0].reset();
  WaitUntil([&] { return router_->links_ready() == 1; });
  for (const KeyId& key_id : keys) EXPECT_EQ(Sign(key_id), ErrorCode::kOk);
}

TEST_F(RouterTest, WithoutAnEnclaveCallsAreUnavailableAtOnce) {
  StartRouter(1);
  EXPECT_EQ(Sign(KeyId::New({})), ErrorCode::kUnavailable);
  EXPECT_EQ(Create().first.code, ErrorCode::kUnavailable);
}

TEST_F(RouterTest, AnUnknownKeyIsInvalid) {
  StartAll(1);
  EXPECT_EQ(Sign(KeyId::New({})), ErrorCode::kInvalidKey);
}

TEST_F(RouterTest, CallsInFlightOnALostConnectionAreAnswered) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  std::atomic<bool> arrived{false};
  enclaves_[0]->SetScript([&](const RequestBatch&, ReplyBatch&) { return arrived = true; });
  TestCall call(key_id, 1);
  router_->Sign(&call);
  WaitUntil([&] { return arrived.load(); });
  enclaves_[0].reset();
  EXPECT_EQ(call.Wait(), ErrorCode::kUnavailable);
}

TEST_F(RouterTest, ASilentEnclaveCostsACallItsDeadlineAndNoMore) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0]->SetScript([](const RequestBatch&, ReplyBatch&) { return true; });
  TestCall call(key_id, 1, milliseconds(20));
  router_->Sign(&call);
  EXPECT_EQ(call.Wait(), ErrorCode::kUnavailable);
  EXPECT_GE(clock_.Now(), call.deadline);
}

TEST_F(RouterTest, AnAnswerToAnotherQuestionIsDropped) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0]->SetScript([](const RequestBatch& requests, ReplyBatch& replies) {
    for (const SignItem& item : requests.signs) {
      SignReply reply{.sequence = item.sequence + 0x100, .status = ItemStatus::kOk};
      replies.signs.push_back(reply);  // the same slot, another generation
    }
    return true;
  });
  TestCall call(key_id, 1, milliseconds(20));
  router_->Sign(&call);
  EXPECT_EQ(call.Wait(), ErrorCode::kUnavailable);
}

TEST_F(RouterTest, WhenEverySlotIsTakenTheNextCallIsRefused) {
  StartAll(1);
  KeyId key_id = Create().second.key_id;
  enclaves_[0]->SetScript([](const RequestBatch&, ReplyBatch&) { return true; });
  std::vector<std::unique_ptr<TestCall>> calls;
  for (std::size_t i = 0; i < 2 * EnclaveStream::kSlotsMax; ++i) {
    calls.push_back(std::make_unique<TestCall>(key_id, 1));
    router_->Sign(calls.back().get());
  }
  EXPECT_EQ(Sign(key_id), ErrorCode::kRetryLater);
  router_->Stop();
  for (auto& call : calls) EXPECT_EQ(call->Wait(), ErrorCode::kUnavailable);
}

TEST_F(RouterTest, ARepeatedCreateReturnsTheSameKey) {
  StartAll(1);
  KeyId first = Create("order-7").second.key_id;
  EXPECT_EQ(Create("order-7").second.key_id, first);
  EXPECT_NE(Create("order-8").second.key_id, first);
}

TEST_F(RouterTest, AKeyThatCannotBeStoredIsNotAcknowledged) {
  StartAll(1);
  store_.FailWith(absl::ResourceExhaustedError("the write queue is full"));
  EXPECT_EQ(Create().first.code, ErrorCode::kRetryLater);
  store_.FailWith(absl::UnavailableError("disk full"));
  EXPECT_EQ(Create().first.code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace bulla
