// In the steady state a signature over HTTP costs the gateway's own code no allocation.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <vector>

#include "gateway/access/admission_filter.h"
#include "gateway/call/call_list.h"
#include "gateway/http/server.h"
#include "tests/fakes/allocation_count.h"
#include "tests/fakes/raw_http_client.h"

namespace bulla {
namespace {

// Answers at once, on the HTTP front end's own thread, and notes how much that thread has
// allocated.
class CountingService final : public SignerService {
 public:
  void Sign(SignCall* first) override {
    {
      MutexLock lock(mutex_);
      counts_.push_back(allocations_of_thread);
    }
    CompleteAll(first);
  }
  void Create(CreateCall, KeyDone done) override { done({ErrorCode::kUnavailable, ""}, {}); }
  void GetKey(GetKeyCall, KeyDone done) override { done({ErrorCode::kInvalidKey, ""}, {}); }

  void Reserve(std::size_t count) {
    MutexLock lock(mutex_);
    counts_.reserve(count);
  }
  std::vector<std::uint64_t> counts() const {
    MutexLock lock(mutex_);
    return counts_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::uint64_t> counts_ BULLA_GUARDED_BY(mutex_);
};

TEST(HttpAllocations, ASignatureInTheSteadyStateAllocatesNothing) {
  if (!kCountsAllocations) GTEST_SKIP() << "a sanitizer has the allocator";
  constexpr std::size_t kWarmUp = 50;
  constexpr std::size_t kRequests = 500;
  CountingService service;
  service.Reserve(kWarmUp + kRequests);
  Metrics metrics;
  RealClock clock;
  Clients clients;
  const Admission::Settings settings;
  Admission admission(settings, clients, metrics);
  AdmissionFilter chain(service, admission, clock);
  HttpServer server({.listen = "127.0.0.1:0", .threads = 1}, chain, clients, metrics, clock);
  absl::StatusOr<std::string> address = server.Start();
  ASSERT_TRUE(address.ok()) << address.status();
  RawHttpClient client(*address);
  const std::string body = fmt::format(R"({{"keyId":"{}","digest":"{}"}})",
                                       KeyId::New({}).ToString(), std::string(64, 'a'));
  for (std::size_t i = 0; i < kWarmUp + kRequests; ++i) {
    ASSERT_EQ(client.Post("/sign", body).status, 200);
  }
  server.Stop();
  const std::vector<std::uint64_t> counts = service.counts();
  ASSERT_EQ(counts.size(), kWarmUp + kRequests);
  // The Date field's text is made anew each second, and the tallies are passed on ten times.
  const std::uint64_t allocations = counts.back() - counts[kWarmUp];
  EXPECT_LT(allocations, kRequests / 5) << "with one each it would be " << kRequests;
  RecordProperty("allocations", static_cast<int>(allocations));
}

}  // namespace
}  // namespace bulla
