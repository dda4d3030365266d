// Replies of the module come through the hypervisor; a parser of bytes nevertheless.

#include <cstdint>

#include "kms/nsm.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bulla;
  ByteSpan reply(data, size);
  static_cast<void>(DecodeAttestReply(reply));
  static_cast<void>(DecodeGetRandomReply(reply));
  static_cast<void>(DecodeDescribePcrReply(reply));
  return 0;
}
