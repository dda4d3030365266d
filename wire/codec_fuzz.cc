// Any bytes as a frame of either direction: decoding refuses or yields a batch that encodes again
// to a frame that decodes to the same counts.

#include <cstdlib>

#include "wire/codec.h"
#include "wire/enclave.pb.h"

namespace bulla {
namespace {

void TryRequest(ByteSpan bytes) {
  wire::v1::RequestFrame frame;
  RequestBatch batch, again;
  if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  if (!DecodeRequest(frame, batch).ok()) return;
  EncodeRequest(batch, frame);
  if (!DecodeRequest(frame, again).ok() || again.signs.size() != batch.signs.size()) std::abort();
}

void TryReply(ByteSpan bytes) {
  wire::v1::ReplyFrame frame;
  ReplyBatch batch, again;
  if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  if (!DecodeReply(frame, batch).ok()) return;
  EncodeReply(batch, frame);
  if (!DecodeReply(frame, again).ok() || again.creates.size() != batch.creates.size()) std::abort();
}

}  // namespace
}  // namespace bulla

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bulla::TryRequest({data, size});
  bulla::TryReply({data, size});
  return 0;
}
