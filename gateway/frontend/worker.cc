#include "gateway/frontend/worker.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include <boost/asio/post.hpp>

#include "base/check.h"
#include "base/thread.h"
#include "gateway/frontend/tcp_listen.h"

namespace bulla {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// How often deadlines are looked at and tallies passed on. Deadlines here are in seconds.
constexpr std::chrono::milliseconds kTick{100};

// SO_REUSEPORT would let a second gateway of the same user share the port in silence. A socket
// without it finds out.
absl::Status CheckFree(const tcp::endpoint& endpoint) {
  asio::io_context io;
  return ListenOn(io, endpoint, /*share=*/false).status();
}

}  // namespace

FrontendWorker::FrontendWorker(Options options, SignerService& service, FrontendMetrics& metrics,
                               const Clock& clock)
    : options_(std::move(options)),
      service_(service),
      clock_(clock),
      ticker_(io_),
      parse_latency_(metrics.parse_latency()),
      total_latency_(metrics.total_latency()) {}

absl::Status FrontendWorker::Listen(const tcp::endpoint& endpoint) {
  BULLA_ASSIGN_OR_RETURN(tcp::acceptor listener, ListenOn(io_, endpoint, /*share=*/true));
  endpoint_ = listener.local_endpoint();
  address_ = AddressOf(listener);
  acceptor_.emplace(io_.get_executor(), UniqueFd(listener.release()),
                    Acceptor::Options{.name = options_.name, .on_pause = options_.on_accept_pause},
                    [this](UniqueFd fd) {
                      // Accepted just before; nobody would close it any more.
                      if (!stopping_) TakeConnection(std::move(fd));
                    });
  return absl::OkStatus();
}

void FrontendWorker::StartThread() {
  work_.emplace(io_.get_executor());
  acceptor_->Start();
  StartTicker();
  thread_ = bulla::StartThread(fmt::format("{}-{}", options_.name, options_.index),
                               [this] { io_.run(); });
}

void FrontendWorker::StartTicker() {
  ticker_.expires_after(kTick);
  ticker_.async_wait([this](const error_code& ec) {
    // A timer that has expired already cannot be cancelled any more: stopping shows in work_.
    if (ec || !work_) return;
    parse_latency_.Flush();
    total_latency_.Flush();
    TickConnections(Now());
    StartTicker();
  });
}

// Requests that arrived together leave together: what this turn of the loop parses is gathered, and
// the posted flush runs after it.
void FrontendWorker::Submit(SignCall* call) {
  call->sink = this;
  gathered_.Append(call);
  if (submit_posted_) return;
  submit_posted_ = true;
  asio::post(io_, [this] { SubmitGathered(); });
}

void FrontendWorker::SubmitGathered() {
  submit_posted_ = false;
  const CallList calls = std::exchange(gathered_, {});
  if (!calls.empty()) service_.Sign(calls.first());
}

// The post is made under the lock so that nobody can find the call, finish with it and destroy this
// object while post() is still at work on io_.
void FrontendWorker::Wake() {
  if (wake_posted_) return;
  wake_posted_ = true;
  asio::post(io_, [this] { TakeDelivered(); });
}

void FrontendWorker::Complete(SignCall* first) {
  SignCall* last = first;
  while (last->next != nullptr) last = last->next;
  MutexLock lock(mutex_);
  last->next = delivered_;
  delivered_ = first;
  Wake();
}

SignerService::KeyDone FrontendWorker::KeyDone(KeyAsker& asker) {
  return [this, asker = &asker](Error error, const KeyRow& key) {
    KeyAnswer answer{asker, std::move(error), {}};
    if (answer.error.ok()) answer.key = key;
    MutexLock lock(mutex_);
    key_answers_.push_back(std::move(answer));
    Wake();
  };
}

void FrontendWorker::TakeDelivered() {
  SignCall* call = nullptr;
  std::vector<KeyAnswer> answers;
  {
    MutexLock lock(mutex_);
    wake_posted_ = false;
    call = std::exchange(delivered_, nullptr);
    answers.swap(key_answers_);
  }
  while (call != nullptr) OnCallDone(*PopFirst(call));
  for (const KeyAnswer& answer : answers) answer.asker->OnKey(answer.error, answer.key);
  OnCallsDone();
}

void FrontendWorker::BeginDrain() {
  asio::post(io_, [this] {
    if (draining_) return;
    draining_ = true;
    // The kernel has completed connections that wait to be accepted; their callers believe that
    // they are connected, so they are served too.
    acceptor_->TakeWaiting();
    acceptor_->Close();
    DrainConnections();
    TellIfEmpty();
  });
}

void FrontendWorker::TellIfEmpty() {
  if (!draining_ || has_connections()) return;
  MutexLock lock(mutex_);
  empty_ = true;
  empty_changed_.NotifyAll();
  if (stopping_) {
    ticker_.cancel();
    work_.reset();
  }
}

bool FrontendWorker::WaitUntilEmpty(Duration timeout) {
  MutexLock lock(mutex_);
  return empty_changed_.WaitFor(mutex_, timeout,
                                [this]() BULLA_REQUIRES(mutex_) { return empty_; });
}

void FrontendWorker::StopBlocking() {
  if (!thread_.joinable()) return;
  asio::post(io_, [this] {
    stopping_ = true;
    if (!draining_) {
      draining_ = true;
      acceptor_->Close();
    }
    StopConnections();
    TellIfEmpty();
  });
  thread_.join();
  MutexLock lock(mutex_);  // whoever woke the loop last has left Wake()
}

// ---- All of them -----------------------------------------------------------------------------

absl::StatusOr<std::string> FrontendWorkers::Start(const std::string& listen, int threads,
                                                   const Make& make) {
  BULLA_CHECK(workers_.empty(), "a front end is started once");
  if (threads < 1) return absl::InvalidArgumentError("threads: want 1 or more");
  BULLA_ASSIGN_OR_RETURN(tcp::endpoint endpoint, ParseListenEndpoint(listen));
  BULLA_RETURN_IF_ERROR(CheckFree(endpoint));
  std::vector<std::unique_ptr<FrontendWorker>> workers;
  for (int i = 0; i < threads; ++i) {
    workers.push_back(make(workers.size()));
    BULLA_RETURN_IF_ERROR(workers.back()->Listen(endpoint));
    endpoint = workers.front()->endpoint();  // with the port that was chosen
  }
  workers_ = std::move(workers);
  for (const auto& worker : workers_) worker->StartThread();
  return workers_.front()->address();
}

bool FrontendWorkers::Drain(MonotonicTime deadline, const Clock& clock) {
  for (const auto& worker : workers_) worker->BeginDrain();
  bool all = true;
  for (const auto& worker : workers_) {
    all = worker->WaitUntilEmpty(std::max(Duration(0), deadline - clock.Now())) && all;
  }
  return all;
}

void FrontendWorkers::Stop() {
  for (auto worker = workers_.rbegin(); worker != workers_.rend(); ++worker) {
    (*worker)->StopBlocking();
  }
}

}  // namespace bulla
