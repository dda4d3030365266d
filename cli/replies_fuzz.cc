// What a server at the given address may answer, and what may lie in endpoints.json: any
// bytes.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/bytes.h"
#include "cli/endpoints.h"
#include "cli/replies.h"
#include "cli/status_text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = bulla::AsText({data, size});
  (void)bulla::ParsePublicKeyReply(text);
  (void)bulla::ParseKeyListReply(text);
  (void)bulla::ParseErrorReply(text);
  auto status = bulla::ParseStatusReply(text);
  if (status.ok()) {
    (void)bulla::FormatStatus(*status);
    (void)bulla::FormatEnclaves(*status);
  }
  auto change = bulla::ParseEnclaveChangeReply(text);
  if (change.ok()) (void)bulla::Plain(change->lasts);
  auto signature = bulla::ParseSignatureReply(text);
  if (signature.ok() && signature->signature.recovery_id > 3) std::abort();

  auto endpoints = bulla::ParseEndpoints(text);
  if (endpoints.ok() && *bulla::ParseEndpoints(bulla::FormatEndpoints(*endpoints)) != *endpoints) {
    std::abort();
  }
  return 0;
}
