#include "gateway/access/admission_filter.h"

#include <memory>
#include <optional>
#include <utility>

#include "gateway/call/call_list.h"

namespace bulla {
namespace {

// How many of the first calls of the list are of one request.
std::size_t CountOfOneRequest(const SignCall* first) {
  std::size_t count = 0;
  for (const SignCall* call = first; call != nullptr && call->context == first->context;
       call = call->next) {
    ++count;
  }
  return count;
}

// `done`, with the pass given back before it.
SignerService::KeyDone ReturnPass(Admission::Pass&& pass, SignerService::KeyDone done) {
  return [pass = std::make_shared<Admission::Pass>(std::move(pass)), done = std::move(done)](
             Error error, const KeyRow& key) {
    pass->Return();
    done(std::move(error), key);
  };
}

}  // namespace

void AdmissionFilter::Sign(SignCall* first) {
  const MonotonicTime now = clock_.Now();
  CallList admitted;
  CallList refused;
  while (first != nullptr) {
    const std::size_t count = CountOfOneRequest(first);
    const std::size_t let_in =
        admission_.Admit(*first->context->client, count, first->deadline - now);
    for (std::size_t i = 0; i < count; ++i) {
      SignCall* call = PopFirst(first);
      if (i >= let_in) {
        refused.Append(call);
        continue;
      }
      call->admitted_at = now;
      call->Intercept(*this);
      admitted.Append(call);
    }
  }
  if (!refused.empty()) FailAll(refused.first(), ErrorCode::kRetryLater);
  if (!admitted.empty()) next().Sign(admitted.first());
}

void AdmissionFilter::Complete(SignCall* first) {
  if (first->error == ErrorCode::kOk) admission_.OnAnswered(clock_.Now() - first->admitted_at);
  for (SignCall* call = first; call != nullptr;) {
    const Client& client = *call->context->client;
    std::size_t count = CountOfOneRequest(call);
    admission_.Release(client, count);
    for (; count > 0; --count, call = call->next) call->Restore();
  }
  CompleteAll(first);
}

void AdmissionFilter::Create(CreateCall call, KeyDone done) {
  std::optional<Admission::Pass> pass =
      admission_.AdmitCreate(*call.context->client, call.deadline - clock_.Now());
  if (!pass) return done({ErrorCode::kRetryLater, ""}, {});
  next().Create(std::move(call), ReturnPass(*std::move(pass), std::move(done)));
}

void AdmissionFilter::GetKey(GetKeyCall call, KeyDone done) {
  std::optional<Admission::Pass> pass = admission_.AdmitLookUp(*call.context->client);
  if (!pass) return done({ErrorCode::kRetryLater, ""}, {});
  next().GetKey(call, ReturnPass(*std::move(pass), std::move(done)));
}

}  // namespace bulla
