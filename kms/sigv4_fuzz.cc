// Authorization headers and dates come from whoever reaches the local KMS.

#include <cstdint>

#include "base/check.h"
#include "kms/sigv4.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bulla;
  std::string_view text = AsText(ByteSpan(data, size));
  if (auto parsed = ParseSigV4Authorization(text); parsed.ok()) {
    BULLA_CHECK(parsed->signature.size() == 64, "a parsed signature is whole");
    BULLA_CHECK(!parsed->signed_headers.empty(), "a parsed header names what it signs");
  }
  if (auto date = ParseAmzDate(text); date.ok()) {
    BULLA_CHECK(AmzDate(*date) == text, "a date has one spelling");
  }
  return 0;
}
