#include "bench/load/traffic.h"

#include <fmt/format.h>

namespace bulla {

std::string TrafficText(const Traffic& traffic) {
  std::string text = fmt::format("{} connections", traffic.connections);
  if (traffic.protocol == Protocol::kStream) {
    text += fmt::format(" with {} streams each, {} messages under way on a stream", traffic.streams,
                        traffic.messages);
  }
  if (HasBatches(traffic.protocol)) text += fmt::format(", up to {} in a message", traffic.batch);
  return text;
}

}  // namespace bulla
