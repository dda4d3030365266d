#pragma once

// An enclave as a gateway sees it: a queue with a service time that may be killed, frozen, slowed,
// may be far away, may garble its answers, and may have lost its blobs or data keys. No crypto: a
// signature is the number of the call that asked for it.

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "tests/simulation/world.h"
#include "wire/codec.h"
#include "wire/enclave.pb.h"

namespace bulla {

// What all enclaves have in common: KMS, and which data key a key is sealed under.
struct Keys {
  // Keys are numbered; their ids are spread evenly.
  static KeyId IdOf(std::uint32_t key);
  static std::uint32_t NumberOf(const KeyId& id);
  std::uint32_t DekOf(std::uint32_t key) const { return key % deks; }
  static DekId DekIdOf(std::uint32_t dek);
  static std::uint32_t DekNumberOf(const DekId& id) { return id.bytes[0]; }
  // A key's sealed blob, and a digest to be signed: both carry a number, so that what comes back is
  // seen to belong to what was asked.
  static Bytes BlobOf(std::uint32_t key);
  static std::uint32_t KeyIn(const Bytes& blob);
  static Digest32 DigestOf(std::uint64_t call);
  static std::uint64_t CallIn(const RecoverableSignature& signature);

  std::uint32_t count = 2000;
  std::uint32_t deks = 8;
  bool kms_away = false;
};

class EnclaveModel {
 public:
  // Nothing when the answer was garbled: the stream it came by is then lost.
  using Answered = std::function<void(std::optional<ReplyBatch>)>;
  struct Frame {
    RequestBatch batch;
    MonotonicTime sent_at;
    MonotonicTime arrives_at;
    Answered answered;
  };
  using Wrong = std::function<void(const std::string&)>;

  static constexpr Duration kWay = std::chrono::microseconds(50);  // there, and back
  static constexpr Duration kUnlockTime = std::chrono::milliseconds(10);
  static constexpr Duration kUnlockTimeout = std::chrono::seconds(10);
  static constexpr std::size_t kQueueMax = 2048;  // items; what is over it is answered kBusy

  // `service` is the time a signature takes.
  EnclaveModel(World& world, const Keys& keys, std::string name, Duration service, Wrong wrong)
      : world_(world),
        keys_(keys),
        name_(std::move(name)),
        service_(service),
        wrong_(std::move(wrong)) {}

  const std::string& name() const { return name_; }
  bool up() const { return up_; }
  bool frozen() const { return frozen_; }
  // Since when it answers nothing: max() when it does.
  MonotonicTime frozen_since() const { return frozen_ ? frozen_since_ : MonotonicTime::max(); }
  std::uint64_t boot() const { return boot_; }
  std::uint64_t received() const { return received_; }  // signatures asked of it
  std::uint64_t frames() const { return frames_; }      // that had some of these
  std::uint64_t signatures() const { return signatures_; }
  Duration delay_max() const { return delay_max_; }

  void Take(Frame frame);
  // The control calls. Requires: it is up.
  wire::v1::HelloReply Hello() const;
  using UnlockDone = std::function<void(absl::StatusOr<wire::v1::UnlockReply>)>;
  // `connection`: by which it was asked. One that is lost leaves its unlocks behind it.
  void Unlock(std::uint64_t connection, const wire::v1::UnlockRequest& request, UnlockDone done);
  void SealUnder(const wire::v1::SealUnderRequest& request) { store_id_ = request.store_id(); }
  wire::v1::KeysInUseReply KeysInUse() const;

  // ---- faults
  void Kill();
  void Start();
  void Freeze();
  void Thaw();
  void Slow(int times) { slowness_ = times; }
  // Each frame takes up to so much longer on its way there: those of two streams overtake each
  // other.
  void Delay(Duration max) { delay_max_ = max; }
  void Garble(bool on) { garbles_ = on; }
  // Answers kNeedDek whatever is unlocked.
  void RefuseDeks(bool on) { refuses_deks_ = on; }
  void LoseDeks() { open_deks_.clear(); }
  void LoseBlobs() { blobs_.clear(); }
  void OpenDek(std::uint32_t dek) { open_deks_.insert(dek); }

 private:
  void Arrive(Frame frame);
  void Begin();
  void Finish();
  ItemStatus Work(const SignItem& item, MonotonicTime deadline);
  // Until it has got what it asked KMS for: true, or cannot.
  void AwaitKms(std::uint64_t boot, MonotonicTime give_up, std::function<void(bool)> done);

  World& world_;
  const Keys& keys_;
  const std::string name_;
  const Duration service_;
  const Wrong wrong_;

  bool up_ = true;
  std::uint64_t boot_ = 1;
  bool frozen_ = false;
  MonotonicTime frozen_since_;
  int slowness_ = 1;
  Duration delay_max_{};
  bool garbles_ = false;
  bool refuses_deks_ = false;
  std::unordered_set<std::uint32_t> open_deks_;
  std::unordered_set<std::uint32_t> blobs_;
  std::set<std::pair<std::uint64_t, std::uint32_t>> unlocking_;  // data keys, by connection
  std::optional<DekId> sealing_dek_;
  std::string store_id_;

  std::deque<Frame> queue_;
  std::size_t queued_items_ = 0;
  bool working_ = false;    // at the front of the queue
  bool overslept_ = false;  // its work was over while it was frozen
  std::uint64_t received_ = 0;
  std::uint64_t frames_ = 0;
  std::uint64_t signatures_ = 0;
};

}  // namespace bulla
