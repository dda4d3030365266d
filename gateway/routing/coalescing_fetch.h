#pragma once

// Which keys' blobs are on their way to which enclave, so that one key is fetched and sent once
// however many signatures wait for it.
//
// Pure: owns no thread, lock or clock. Not thread-safe: the router guards it.

#include <cstdint>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "base/clock.h"
#include "base/ids.h"
#include "gateway/call/call_list.h"
#include "gateway/call/signer_service.h"

namespace bulla {

class CoalescingFetch {
 public:
  // A blob that left this long ago has arrived, whatever the enclave says.
  static constexpr std::chrono::milliseconds kUnderWay{100};

  // For one call a blob is sent at most twice: the second time only if it was dropped between.
  static constexpr std::uint8_t kLoadsMax = 2;
  // How often a call is sent again at once while the blob is on its way, which may be slower.
  static constexpr std::uint8_t kFollowsAtOnceMax = 2;

  enum class Next {
    kFetch,   // fetch the blob, then TakeWaiting(): the call is among those
    kWait,    // somebody fetches it already: the call is kept until then
    kRepeat,  // it is on its way to the enclave: send the call again
    kLater,   // the same, but the call was faster more than once: at the next tick
    kGiveUp,  // the enclave does not keep it
  };

  // An enclave lacks the blob of the call's key. Counted in the call.
  Next Ask(std::uint32_t enclave, SignCall* call, MonotonicTime now);
  // The same for a list of calls, sorted by what is to be done. Those that wait are kept.
  struct Asked {
    std::vector<KeyId> to_fetch;
    CallList resend;
    CallList later;
    CallList given_up;
  };
  Asked AskAll(std::uint32_t enclave, SignCall* first, MonotonicTime now);
  // The fetch has ended: those that wait for the blob. When it was `found`, it leaves ahead of
  // them; null when none of them waits any more, and then nothing leaves.
  SignCall* TakeWaiting(std::uint32_t enclave, const KeyId& key_id, bool found, MonotonicTime now);

  // Those whose deadline is over, however long their fetch takes yet.
  SignCall* TakeExpired(MonotonicTime now);

  // The enclave did not keep it, since the key's DEK is not open there: the next who asks fetches
  // it again.
  void Dropped(std::uint32_t enclave, const KeyId& key_id);
  // Forgets what has arrived. To be called now and then.
  void Prune(MonotonicTime now);
  std::size_t size() const { return loads_.size(); }

 private:
  struct Load {
    bool fetching = true;
    MonotonicTime sent_at;
    CallList waiting;
  };
  using Key = std::pair<std::uint32_t, KeyId>;

  absl::flat_hash_map<Key, Load> loads_;
};

}  // namespace bulla
