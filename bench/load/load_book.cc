#include "bench/load/load_book.h"

#include "base/check.h"

namespace bulla {
namespace {

constexpr Duration kReportEvery = std::chrono::seconds(1);
constexpr std::size_t kFirstErrorBytesMax = 300;

}  // namespace

LoadBook::LoadBook(const SchedulePlan& plan, std::function<void(const LoadProgress&)> report,
                   std::function<void(std::uint64_t)> at_edge)
    : plan_(plan), report_(std::move(report)), at_edge_(std::move(at_edge)) {}

void LoadBook::Start(MonotonicTime now) {
  start_ = now;
  schedule_.emplace(plan_, now);
  last_answer_ = schedule_->measured_from();
  next_report_ = now + kReportEvery;
  next_edge_ = schedule_->measured_from();
}

std::optional<DueRequest> LoadBook::Take(MonotonicTime now) {
  std::optional<DueRequest> request = schedule_->Take(now);
  if (!request) return request;
  ++under_way_;
  if (request->measured) {
    ++result_.requests;
    result_.lag.Record(now - request->due);
  } else {
    ++result_.warm_up_requests;
  }
  return request;
}

void LoadBook::Answered(const DueRequest& request, const RecoverableSignature& signature,
                        MonotonicTime now) {
  --under_way_;
  ++answered_;
  Duration latency = now - request.due;
  interval_.Record(latency);
  if (request.measured) {
    result_.latency.Record(latency);
    last_answer_ = now;
  }
  result_.answers.Add({request.index, signature, request.measured});
}

void LoadBook::Failed(const DueRequest& request, std::string_view code, std::string_view what,
                      MonotonicTime now) {
  if (request.measured) {
    ++result_.errors[std::string(code)];
    result_.failed_latency.Record(now - request.due);
    last_answer_ = now;
  }
  CountError(request, result_.failed, what);
}

void LoadBook::Malformed(const DueRequest& request, std::string_view what) {
  CountError(request, result_.malformed, what);
}

void LoadBook::Dropped(const DueRequest& request, std::string_view why) {
  CountError(request, result_.dropped, why);
}

void LoadBook::CountError(const DueRequest& request, std::uint64_t& counter,
                          std::string_view what) {
  --under_way_;
  ++(request.measured ? counter : result_.warm_up_failed);
  if (result_.first_error.empty()) result_.first_error = what.substr(0, kFirstErrorBytesMax);
}

void LoadBook::Tick(MonotonicTime now) {
  if (now >= next_edge_) PassEdge();
  if (now < next_report_) return;
  report_({.since_start = now - start_,
           .interval = now - next_report_ + kReportEvery,
           .latency = interval_,
           .failed = result_.failed + result_.malformed + result_.dropped + result_.warm_up_failed,
           .warm_up = now < schedule_->measured_from()});
  interval_.Clear();
  next_report_ = now + kReportEvery;
}

void LoadBook::PassEdge() {
  next_edge_ = ++edges_passed_ == 1 ? schedule_->end() : MonotonicTime::max();
  if (at_edge_) at_edge_(answered_);
}

LoadResult LoadBook::Finish() {
  BULLA_CHECK(under_way_ == 0, "the transport booked all that it sent");
  while (edges_passed_ < 2) PassEdge();  // all was answered before the end
  std::uint64_t left = schedule_->MeasuredLeft();
  result_.requests += left;
  result_.dropped += left;
  result_.measured = last_answer_ - schedule_->measured_from();
  return std::move(result_);
}

}  // namespace bulla
