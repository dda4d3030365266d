// Every beginning of a connection: what is taken does not depend on how much has arrived, and what
// was waited for is bounded.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "gateway/frontend/proxy_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using State = bulla::ProxyHeader::State;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const bulla::ProxyHeader whole = bulla::ParseProxyHeader(bytes);
  switch (whole.state) {
    case State::kMore:
      BULLA_CHECK(size < bulla::kProxyHeaderBytesMax, "a wait has an end");
      break;
    case State::kMalformed:
      BULLA_CHECK(!whole.source, "what is malformed names nobody");
      break;
    case State::kDone: {
      BULLA_CHECK(whole.bytes > 0 && whole.bytes <= size, "it has arrived");
      BULLA_CHECK(whole.bytes <= bulla::kProxyHeaderBytesMax, "a header is bounded");
      const bulla::ProxyHeader alone = bulla::ParseProxyHeader(bytes.substr(0, whole.bytes));
      BULLA_CHECK(alone.state == State::kDone && alone.source == whole.source,
                  "what follows does not matter");
      const bulla::ProxyHeader less = bulla::ParseProxyHeader(bytes.substr(0, whole.bytes - 1));
      BULLA_CHECK(less.state == State::kMore, "one byte less is waited for");
      break;
    }
  }
  return 0;
}
