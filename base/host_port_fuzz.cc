// Where to listen or to connect, of any bytes: what is taken is written the same way again, and
// what a URL takes as its host is a host.

#include <cstdlib>

#include "base/bytes.h"
#include "base/host_port.h"
#include "base/http_url.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = bulla::AsText({data, size});
  auto host_port = bulla::ParseHostPort(text);
  if (host_port.ok()) {
    auto again = bulla::ParseHostPort(host_port->ToString());
    if (!again.ok() || *again != *host_port || !bulla::IsHost(host_port->host)) std::abort();
  }
  auto listen = bulla::ParseListenAddress(text);
  if (listen.ok() && (!host_port.ok() || listen->size == 0)) std::abort();
  auto url = bulla::ParseHttpUrl(text);
  if (url.ok()) {
    auto again = bulla::ParseHttpUrl(url->ToString());
    if (!again.ok() || *again != *url || !bulla::IsHost(url->at.host)) std::abort();
  }
  if (!url.ok() && url.status().message().empty()) std::abort();
  return 0;
}
