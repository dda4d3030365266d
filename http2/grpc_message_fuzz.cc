// Any bytes as the data of a stream: what is found does not depend on the pieces in which they
// arrive, and no more memory is taken than has.

#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "http2/grpc_message.h"

namespace bulla::http2 {
namespace {

constexpr std::size_t kMessageBytesMax = 1000;

struct Outcome {
  std::vector<std::string> messages;
  bool refused = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome Read(ByteSpan data, std::size_t piece) {
  Outcome outcome;
  GrpcMessageReader reader(kMessageBytesMax);
  while (!data.empty()) {
    ByteSpan bytes = data.first(std::min(piece, data.size()));
    data = data.subspan(bytes.size());
    while (true) {
      ByteSpan message;
      const GrpcMessageReader::Found found = reader.Next(bytes, message);
      if (found == GrpcMessageReader::Found::kMore) break;
      outcome.refused = found != GrpcMessageReader::Found::kMessage;
      if (outcome.refused) return outcome;
      outcome.messages.emplace_back(AsText(message));
      BULLA_CHECK(message.size() <= kMessageBytesMax, "a message is bounded");
    }
    BULLA_CHECK(bytes.empty(), "all is taken");
    BULLA_CHECK(reader.memory_bytes() <= 4096, "memory is bounded");
  }
  return outcome;
}

}  // namespace
}  // namespace bulla::http2

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using bulla::http2::Read;
  const bulla::ByteSpan bytes(data, size);
  const auto whole = Read(bytes, size + 1);
  BULLA_CHECK(whole == Read(bytes, 1), "pieces of a byte");
  BULLA_CHECK(whole == Read(bytes, 7), "pieces of seven");
  return 0;
}
