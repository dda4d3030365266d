#pragma once

// What becomes of signatures with one enclave, and of the link to it: the one listener there is,
// from the streams up to the router.

#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/unlock_cause.h"
#include "gateway/call/signer_service.h"

namespace bulla {

class EnclaveLink;

// What a link, its pool and its streams tell the router. Called on the transport's threads, the
// link's own or a caller's, with no lock held; must not block.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;
  // The enclave lacks the blobs of these keys, or has their DEKs not open.
  virtual void OnNeedBlob(EnclaveLink& link, SignCall* first) = 0;
  virtual void OnNeedDek(EnclaveLink& link, SignCall* first) = 0;
  // Their keys are being opened in the enclave, which took longer than a signature waits for it.
  virtual void OnRehydrateTimeout(EnclaveLink& link, SignCall* first) = 0;
  // Given back unanswered: a stream or the enclave was lost, or they took too long. Nobody knows
  // whether they were signed.
  virtual void OnLost(EnclaveLink& link, SignCall* first) = 0;
  // The link is about to take calls; no DEK but its sealing DEK need be open yet.
  virtual void OnLinkConnected(EnclaveLink& link) = 0;
  // The connection is gone, or could not be made. No unlock of the link is under way any more.
  virtual void OnLinkLost(EnclaveLink& link) = 0;
  // The enclave could not get a DEK to seal under; it is tried again.
  virtual void OnSealingDekFailed(EnclaveLink& link, UnlockCause cause) = 0;
  // The enclave's probe names DEKs past their soft TTL, the same ones again until they are opened.
  virtual void OnDeksToRenew(EnclaveLink& link, const std::vector<DekId>& deks) = 0;
  // Signatures are held back to travel together: SendDue() is to be called at `due`.
  virtual void OnWaiting(MonotonicTime due) = 0;
};

}  // namespace bulla
