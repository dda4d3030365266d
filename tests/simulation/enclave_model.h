#pragma once

// An enclave as a gateway sees it: a queue with a service time that may be killed, frozen, slowed,
// may garble its answers, and may have lost its blobs or data keys. No crypto: a signature is the
// number of the call that asked for it.

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "tests/simulation/chance_and_time.h"
#include "wire/codec.h"

namespace bulla {

// Time, chance, what happens later, and a hash of what happened.
struct World {
  explicit World(std::uint64_t seed) : dice(seed) {}

  void After(Duration wait, std::function<void()> what) { agenda.At(now + wait, std::move(what)); }
  // Throws when time stands still.
  void RunUntil(MonotonicTime end);
  // FNV-1a over all that is noted: one seed, one history.
  void Note(std::uint64_t what) { history = (history ^ what) * 0x100000001b3; }

  MonotonicTime now{std::chrono::hours(1000)};
  Dice dice;
  Agenda agenda;
  std::uint64_t steps = 0;
  std::uint64_t history = 0xcbf29ce484222325;
};

// What all enclaves have in common: KMS, and which data key a key is sealed under.
struct Keys {
  // Keys are numbered; their ids are spread evenly.
  static KeyId IdOf(std::uint32_t key);
  static std::uint32_t NumberOf(const KeyId& id);
  std::uint32_t DekOf(std::uint32_t key) const { return key % deks; }

  std::uint32_t count = 2000;
  std::uint32_t deks = 8;
  bool kms_away = false;
};

class EnclaveModel {
 public:
  struct Item {
    std::uint32_t sequence = 0;
    std::uint32_t key = 0;
    std::uint64_t call = 0;
    MonotonicTime deadline;
  };
  struct Reply {
    std::uint32_t sequence = 0;
    ItemStatus status = ItemStatus::kOk;
    std::uint64_t call = 0;
  };
  // Nothing when the answer was garbled: the stream it came by is then lost.
  using Answered = std::function<void(std::optional<std::vector<Reply>>)>;
  struct Frame {
    std::vector<std::uint32_t> blobs;  // of these keys, ahead of the items
    std::vector<Item> items;
    Answered answered;
  };

  static constexpr Duration kWay = std::chrono::microseconds(50);  // there, and back
  static constexpr Duration kUnlockTime = std::chrono::milliseconds(10);
  static constexpr Duration kUnlockTimeout = std::chrono::seconds(10);
  static constexpr std::size_t kQueueMax = 2048;  // items; what is over it is answered kBusy

  // `service` is the time a signature takes.
  EnclaveModel(World& world, const Keys& keys, std::string name, Duration service)
      : world_(world), keys_(keys), name_(std::move(name)), service_(service) {}

  const std::string& name() const { return name_; }
  bool up() const { return up_; }
  bool frozen() const { return frozen_; }
  // Since when it answers nothing: max() when it does.
  MonotonicTime frozen_since() const { return frozen_ ? frozen_since_ : MonotonicTime::max(); }
  std::uint64_t boot() const { return boot_; }
  std::uint64_t received() const { return received_; }
  std::uint64_t signatures() const { return signatures_; }

  void Take(Frame frame);
  // `done` is told whether the data key is open now.
  void Unlock(std::uint32_t dek, std::function<void(bool)> done);

  // ---- faults
  void Kill();
  void Start();
  void Freeze();
  void Thaw();
  void Slow(int times) { slowness_ = times; }
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
  ItemStatus Work(const Item& item);
  void AwaitKms(std::uint64_t boot, std::uint32_t dek, MonotonicTime give_up,
                std::function<void(bool)> done);

  World& world_;
  const Keys& keys_;
  const std::string name_;
  const Duration service_;

  bool up_ = true;
  std::uint64_t boot_ = 1;
  bool frozen_ = false;
  MonotonicTime frozen_since_;
  int slowness_ = 1;
  bool garbles_ = false;
  bool refuses_deks_ = false;
  std::unordered_set<std::uint32_t> open_deks_;
  std::unordered_set<std::uint32_t> blobs_;

  std::deque<Frame> queue_;
  std::size_t queued_items_ = 0;
  bool working_ = false;    // at the front of the queue
  bool overslept_ = false;  // its work was over while it was frozen
  std::uint64_t received_ = 0;
  std::uint64_t signatures_ = 0;
};

}  // namespace bulla
