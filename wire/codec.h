#pragma once

// Batches as value types, and their columnar form on the wire (enclave.proto). Generated types stop
// here and at the two ends of a stream. Decoding takes nothing on trust: each end treats the
// other's bytes as hostile, so every column's length is checked against the count before a byte is
// read. And a checksum is checked over all of them, since one bit that turned on the way makes a
// signature of another digest, or a wrong one. Pure: no lock, no I/O.

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/values.h"

namespace bulla::wire::v1 {
class RequestFrame;
class ReplyFrame;
}  // namespace bulla::wire::v1

namespace bulla {

// Both ends are built from one tree; another version is refused at Hello.
inline constexpr std::uint32_t kWireProtocolVersion = 4;

// Signatures in one frame. 32 of them make 1.8 KiB out and 2.2 KiB back; vsock's latency is flat to
// 4 KiB a write, and 32 is what spreads a frame's fixed cost (15 us a side) to half a microsecond.
inline constexpr std::size_t kFrameSignsMax = 32;
// Keys to make or load in one frame: a made key takes about 300 bytes, so that 16 stay under 8 KiB.
inline constexpr std::size_t kFrameCreatesMax = 16;
inline constexpr std::size_t kFrameLoadsMax = 16;
inline constexpr std::size_t kSealedBlobBytesMax = 512;
// Data keys named for renewal in one probe; the rest follow in the next.
inline constexpr std::size_t kDeksToRenewMax = 64;
// Keys to forget in one call: 32 KiB, of 64 that an enclave takes.
inline constexpr std::size_t kKeysToForgetMax = 2048;

// What became of one item of a batch, as the enclave says it.
enum class ItemStatus : std::uint8_t {
  kOk = 0,
  kNeedBlob = 1,      // the enclave does not have the key: send its blob, then ask again
  kNeedDek = 2,       // it has the blob but not the data key open: unlock
  kBusy = 3,          // queue full; nothing was done
  kExpired = 4,       // the deadline passed before the work began
  kNoSealingDek = 5,  // create: no data key to seal under yet
  kRefused = 6,       // the blob does not open: damaged, or not this key's
  kFault = 7,         // a computation failed its check; no signature left the enclave
  kRehydrateTimeout =
      8,  // the key is being opened, for longer than a signature may wait: come back
};
inline constexpr int kItemStatusCount = 9;

struct SignItem {
  std::uint32_t sequence = 0;
  KeyId key_id;
  Digest32 digest{};
  std::uint32_t budget_us = 0;  // time left; work that cannot begin within it is dropped
};

struct CreateItem {
  std::uint32_t sequence = 0;
  KeyId key_id;
};

struct RequestBatch {
  std::vector<Bytes> loads;  // sealed blobs, taken in before anything else of the batch
  std::vector<SignItem> signs;
  std::vector<CreateItem> creates;

  bool empty() const { return loads.empty() && signs.empty() && creates.empty(); }
  void clear();
};

struct SignReply {
  std::uint32_t sequence = 0;
  ItemStatus status = ItemStatus::kFault;
  RecoverableSignature signature;  // zero unless status is kOk
};

struct CreateReply {
  std::uint32_t sequence = 0;
  ItemStatus status = ItemStatus::kFault;
  // The rest is set only when status is kOk.
  DekId dek_id;
  Bytes blob;
  PublicKey33 public_key{};
  std::string address;  // EIP-55, 42 characters
};

struct ReplyBatch {
  std::vector<SignReply> signs;
  std::vector<CreateReply> creates;

  bool empty() const { return signs.empty() && creates.empty(); }
  void clear();
  // Moves what is in `other` behind what is here; into an empty one without copying. `other` is
  // left empty, with memory to use again.
  void Append(ReplyBatch& other);
};

// Requires: the batch is within the limits above. `frame` is overwritten.
void EncodeRequest(const RequestBatch& batch, wire::v1::RequestFrame& frame);
void EncodeReply(const ReplyBatch& batch, wire::v1::ReplyFrame& frame);

// `batch` is overwritten. InvalidArgument, naming the column, for a frame that is not well formed
// or is over a limit, DataLoss for one whose checksum is another; `batch` is unspecified then.
absl::Status DecodeRequest(const wire::v1::RequestFrame& frame, RequestBatch& batch);
absl::Status DecodeReply(const wire::v1::ReplyFrame& frame, ReplyBatch& batch);

}  // namespace bulla
