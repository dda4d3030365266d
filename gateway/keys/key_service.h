#pragma once

// The service behind the front ends, as a whole: signatures go to the router; keys are made in an
// enclave, stored, and only then acknowledged.

#include <string>

#include "base/clock.h"
#include "gateway/call/signer_service.h"
#include "gateway/link/enclave_stream.h"
#include "gateway/routing/data_plane.h"
#include "store/key_store.h"

namespace bulla {

// Thread-safe.
class KeyService final : public SignerService {
 public:
  // All of it outlives the service.
  KeyService(DataPlane& data_plane, KeyStore& store, const Clock& clock)
      : data_plane_(data_plane), store_(store), clock_(clock) {}

  void Sign(SignCall* first) override;
  void Create(CreateCall call, KeyDone done) override;
  void GetKey(GetKeyCall call, KeyDone done) override;

 private:
  void MakeKey(CreateCall call, KeyDone done, bool again);
  // Why no enclave makes keys, when KMS refuses all of them what they would seal it under; else
  // nothing more than the code says.
  Error CannotMakeKeys(ErrorCode code) const;
  void StoreKey(std::uint32_t enclave, const KeyId& key_id, CreateCall call, CreateReply reply,
                KeyDone done);

  DataPlane& data_plane_;
  KeyStore& store_;
  const Clock& clock_;
};

}  // namespace bulla
