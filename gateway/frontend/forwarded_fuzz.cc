// Whatever a caller writes on the left of what the proxy adds, he does not become somebody else:
// the client is the one that the proxy names, or, of a field that is wrong, the proxy itself.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "gateway/frontend/forwarded.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using bulla::ForwardedField;
  static const bulla::IpAddress kPeer = *bulla::ParseIpAddress("10.0.0.1");
  static const bulla::IpAddress kClient = *bulla::ParseIpAddress("192.0.2.1");
  const std::string callers(reinterpret_cast<const char*>(data), size);
  for (const auto& [field, added] :
       {std::pair{ForwardedField::kXForwardedFor, std::string("192.0.2.1")},
        {ForwardedField::kForwarded, "for=192.0.2.1;proto=https"},
        {ForwardedField::kForwarded, "for=\"192.0.2.1:4711\""}}) {
    const bulla::ForwardedRules rules{.field = field,
                                      .proxies = *bulla::IpNetworks::Parse({"10.0.0.0/8"})};
    const bulla::IpAddress client = bulla::ClientBehind(kPeer, callers + ", " + added, rules);
    BULLA_CHECK(client == kClient || client == kPeer, "a caller is who the proxy says");
    BULLA_CHECK(client == kClient || field == ForwardedField::kForwarded ||
                    size + 2 + added.size() > bulla::kForwardedBytesMax,
                "X-Forwarded-For is read from the right");
    bulla::ClientBehind(kPeer, callers, rules);
  }
  return 0;
}
