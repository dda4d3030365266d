#pragma once

// Admission in the chain: what is over the bound is refused with kRetryLater before anything is
// done for it, and what is let in is counted until it is finished.

#include "base/clock.h"
#include "gateway/access/admission.h"
#include "gateway/call/signer_filter.h"

namespace bulla {

// Thread-safe.
class AdmissionFilter final : public SignerFilter, private CompletionSink {
 public:
  // `next`, `admission` and `clock` outlive it.
  AdmissionFilter(SignerService& next, Admission& admission, const Clock& clock)
      : SignerFilter(next), admission_(admission), clock_(clock) {}

  // Of one request's signatures those that come first in the list are let in first.
  void Sign(SignCall* first) override;
  void Create(CreateCall call, KeyDone done) override;
  void GetKey(GetKeyCall call, KeyDone done) override;

 private:
  void Complete(SignCall* first) override;

  Admission& admission_;
  const Clock& clock_;
};

}  // namespace bulla
