#include "gateway/access/admission_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "gateway/call/call_list.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_signer_service.h"

namespace bulla {
namespace {

using ::testing::ElementsAre;

struct TestCall final : SignCall {};

// A filter that notes what passes it in both directions.
class Recorder final : public SignerFilter, private CompletionSink {
 public:
  struct Seen {
    std::size_t there = 0;
    std::size_t back = 0;
  };
  Recorder(SignerService& next, Seen& seen) : SignerFilter(next), seen_(seen) {}
  void Sign(SignCall* first) override {
    for (SignCall* call = first; call != nullptr; call = call->next) {
      ++seen_.there;
      call->Intercept(*this);
    }
    next().Sign(first);
  }

 private:
  void Complete(SignCall* first) override {
    for (SignCall* call = first; call != nullptr; call = call->next) {
      ++seen_.back;
      call->Restore();
    }
    CompleteAll(first);
  }

  Seen& seen_;
};

class AdmissionFilterTest : public testing::Test, private CompletionSink {
 protected:
  AdmissionFilterTest() { key_id_ = service_.AddKey(7); }

  // One request for `count` signatures by the client of that number.
  void Ask(std::uint8_t client, std::size_t count) {
    requests_.push_back(std::make_unique<Request>(clients_, client, count));
    for (TestCall& call : requests_.back()->calls) {
      call.key_id = key_id_;
      call.deadline = clock_.Now() + std::chrono::seconds(1);
      call.context = &requests_.back()->context;
      call.sink = this;
      asked_.Append(&call);
    }
  }
  void Sign(SignerService& chain) { chain.Sign(std::exchange(asked_, {}).first()); }
  std::vector<ErrorCode> ErrorsOf(std::size_t request) const {
    std::vector<ErrorCode> errors;
    for (const TestCall& call : requests_[request]->calls) errors.push_back(call.error);
    return errors;
  }

  struct Request {
    Request(Clients& clients, std::uint8_t number, std::size_t count)
        : client(clients, ClientOf(MappedV4({10, 0, 0, number}))),
          context{.client = &client, .request_id = "r"},
          calls(count) {}
    Client client;
    CallContext context;
    std::vector<TestCall> calls;
  };

  FakeClock clock_;
  Metrics metrics_;
  Clients clients_;
  FakeSignerService service_;
  KeyId key_id_;
  const Admission::Settings settings_{.in_flight_max = 3};
  Admission admission_{settings_, clients_, metrics_};
  AdmissionFilter filter_{service_, admission_, clock_};
  CallList asked_;
  std::vector<std::unique_ptr<Request>> requests_;
  std::size_t completed_ = 0;

 private:
  void Complete(SignCall* first) override { completed_ += CountCalls(first); }
};

TEST_F(AdmissionFilterTest, OfARequestTheFirstAreLetInAndTheRestIsRefused) {
  Ask(1, 5);
  Sign(filter_);
  EXPECT_EQ(completed_, 5u);
  EXPECT_THAT(ErrorsOf(0), ElementsAre(ErrorCode::kOk, ErrorCode::kOk, ErrorCode::kOk,
                                       ErrorCode::kRetryLater, ErrorCode::kRetryLater));
  EXPECT_EQ(admission_.in_flight(), 0u);
}

TEST_F(AdmissionFilterTest, RequestsOfSeveralClientsInOneListAreEachTheirOwn) {
  service_.Hold();
  Ask(1, 2);
  Ask(2, 1);
  Ask(1, 1);
  Sign(filter_);
  EXPECT_EQ(admission_.in_flight(), 3u);
  EXPECT_EQ(requests_[0]->client.account().in_flight, 2u);
  EXPECT_EQ(requests_[1]->client.account().in_flight, 1u);
  EXPECT_THAT(ErrorsOf(2), ElementsAre(ErrorCode::kRetryLater));
  service_.Release();
  EXPECT_EQ(completed_, 4u);
  EXPECT_EQ(admission_.in_flight(), 0u);
  EXPECT_EQ(requests_[0]->client.account().in_flight, 0u);
}

TEST_F(AdmissionFilterTest, EveryFilterSeesEachCallOnItsWayThereAndBack) {
  Recorder::Seen inner;
  Recorder::Seen outer;
  SignerChain chain(service_);
  chain.Add<Recorder>(inner);
  chain.Add<AdmissionFilter>(admission_, clock_);
  chain.Add<Recorder>(outer);
  Ask(1, 4);
  Sign(chain.front());
  EXPECT_EQ(completed_, 4u);
  EXPECT_EQ(outer.there, 4u);
  EXPECT_EQ(outer.back, 4u) << "what is refused behind it too";
  EXPECT_EQ(inner.there, 3u);
  EXPECT_EQ(inner.back, 3u);
}

TEST_F(AdmissionFilterTest, ACreateAndALookUpTakeRoomUntilTheyAreDone) {
  const Client client(clients_, ClientOf(MappedV4({10, 0, 0, 1})));
  const CallContext context{.client = &client, .request_id = "r"};
  std::vector<ErrorCode> errors;
  const auto done = [&](const Error& error, const KeyRow&) { errors.push_back(error.code); };
  const MonotonicTime deadline = clock_.Now() + std::chrono::seconds(1);
  service_.Hold();
  filter_.Create({.deadline = deadline, .context = &context}, done);
  EXPECT_EQ(admission_.in_flight(), 3u) << "all there is, though a create costs more";
  filter_.GetKey({.key_id = key_id_, .context = &context}, done);
  EXPECT_THAT(errors, ElementsAre(ErrorCode::kRetryLater));
  service_.Release();
  EXPECT_EQ(admission_.in_flight(), 0u);
  filter_.GetKey({.key_id = key_id_, .context = &context}, done);
  EXPECT_THAT(errors, ElementsAre(ErrorCode::kRetryLater, ErrorCode::kOk, ErrorCode::kOk));
}

}  // namespace
}  // namespace bulla
