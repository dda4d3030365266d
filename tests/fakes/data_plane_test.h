#pragma once

// What a test of the data plane stands on: a router with real links to fake enclaves, a ticker as
// the gateway has one, and the key service over it.

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"
#include "base/wake_timer.h"
#include "gateway/keys/key_service.h"
#include "gateway/link/http2_transport.h"
#include "gateway/routing/data_plane.h"
#include "tests/fakes/fake_enclave.h"
#include "tests/fakes/fake_key_store.h"

namespace bulla {

// A signature that a test asked for, waited for on the test's own thread.
class TestCall final : public SignCall, public CompletionSink {
 public:
  TestCall(const KeyId& id, std::uint8_t digest_byte,
           Duration time_left = std::chrono::seconds(30)) {
    key_id = id;
    digest[0] = digest_byte;
    deadline = RealClock().Now() + time_left;
    sink = this;
  }
  void Complete(SignCall* first) override {
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

class DataPlaneTest : public testing::Test {
 protected:
  DataPlaneTest() {
    char name[] = "/tmp/bulla-data-plane-XXXXXX";
    dir_ = ::mkdtemp(name);
    std::ofstream(dir_ + "/credentials.json")
        << R"({"accessKeyId": "AKIDEXAMPLEEXAMPLE", "secretAccessKey": "exampleexampleexample"})";
  }
  ~DataPlaneTest() override {
    StopPlane();
    enclaves_.clear();
    std::filesystem::remove_all(dir_);
  }

  Address AddressOf(int enclave) const {
    return *Address::Parse("unix:" + dir_ + "/e" + std::to_string(enclave));
  }
  void StartEnclave(int enclave) {
    enclaves_[enclave] = std::make_unique<FakeEnclave>(AddressOf(enclave));
  }
  void StopPlane() {
    if (plane_ != nullptr) plane_->Stop();
    ticking_ = false;
    if (ticker_.joinable()) ticker_.join();
    keys_.reset();
    plane_.reset();
  }
  void StartPlane(int enclaves, const KeyPolicy& policy = NothingWanted()) {
    StartPlaneWith(store_, enclaves, policy, {});
  }
  void StartPlaneWith(KeyStore& store, int enclaves, const KeyPolicy& policy,
                      std::vector<std::string> adopt) {
    settings_.link.streams_min = settings_.link.streams_max = 2;
    settings_.rebalancing_step_interval = std::chrono::milliseconds(10);
    DataPlane::Options options{.credentials_file = dir_ + "/credentials.json",
                               .key_policy = policy,
                               .adopt_enclaves = std::move(adopt),
                               .probe_interval = std::chrono::milliseconds(2)};
    for (int i = 0; i < enclaves; ++i) options.enclaves.push_back({AddressOf(i)});
    plane_ = std::make_unique<DataPlane>(options, settings_, store, metrics_,
                                         Environment{clock_, timers_, transport_, RandomUint64});
    keys_ = std::make_unique<KeyService>(*plane_, store, clock_);
    plane_->StartBlocking();
    ticking_ = true;
    ticker_ = std::thread([this] {
      while (ticking_) {
        plane_->Tick(clock_.Now());
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
    StartPlane(enclaves);
    WaitUntil([&] { return plane_->fleet().available() == static_cast<std::size_t>(enclaves); });
  }

  std::pair<Error, KeyRow> Create(std::string idempotency_key = "",
                                  Duration time_left = std::chrono::seconds(30)) {
    std::promise<std::pair<Error, KeyRow>> made;
    keys_->Create(
        {.idempotency_key = std::move(idempotency_key), .deadline = clock_.Now() + time_left},
        [&](Error error, const KeyRow& row) {
          made.set_value({error, row});
        });
    return made.get_future().get();
  }
  ErrorCode Sign(const KeyId& key_id, std::uint8_t digest_byte = 1) {
    TestCall call(key_id, digest_byte);
    keys_->Sign(&call);
    ErrorCode error = call.Wait();
    if (error == ErrorCode::kOk) {
      EXPECT_EQ(call.signature, FakeEnclave::SignatureOf(call.digest));
    }
    return error;
  }

  EnclaveLink::Status Status(std::size_t enclave = 0) const {
    return plane_->fleet().statuses()[enclave].link;
  }

  std::string dir_;
  const RealClock clock_{};
  ThreadTimers timers_{clock_};
  Http2Transport transport_{clock_};
  Metrics metrics_;
  DataPlaneSettings settings_;
  FakeKeyStore store_;
  std::map<int, std::unique_ptr<FakeEnclave>> enclaves_;
  std::unique_ptr<DataPlane> plane_;
  std::unique_ptr<KeyService> keys_;
  std::atomic<bool> ticking_{true};
  std::thread ticker_;
};

}  // namespace bulla
