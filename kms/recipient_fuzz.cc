// Envelopes come from KMS, through a parent that is not trusted. An envelope of the input, and one
// of our own with the input written over its end, so that decryption is reached too.

#include <algorithm>
#include <cstdint>

#include "kms/recipient.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bulla;
  static const Recipient* recipient = Recipient::Generate().value().release();
  static const Bytes own = SealForRecipient(recipient->public_key(), Bytes(32, 1)).value();
  static_cast<void>(recipient->Open(ByteSpan(data, size)));
  Bytes mixed = own;
  std::size_t tail = std::min(size, mixed.size());
  std::copy(data, data + tail, mixed.end() - static_cast<std::ptrdiff_t>(tail));
  static_cast<void>(recipient->Open(mixed));
  return 0;
}
