#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "gateway/http_request.h"

namespace {

using State = bulla::HttpRequestReader::State;
constexpr std::size_t kBodyMax = 4096;

struct Outcome {
  State state;
  std::size_t used;
  std::string target;
  std::string body;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Feeds `bytes` as a connection does, `step` at a time, what was not taken together with what comes
// next.
Outcome ReadInSteps(std::string_view bytes, std::size_t step) {
  bulla::HttpRequestReader reader(kBodyMax);
  std::size_t taken = 0;
  for (std::size_t arrived = 0; arrived < bytes.size() && reader.state() < State::kDone;) {
    arrived = std::min(bytes.size(), arrived + step);
    taken += reader.Consume(bytes.substr(taken, arrived - taken));
    BULLA_CHECK(taken <= arrived, "nothing is taken that has not arrived");
    BULLA_CHECK(reader.request().body.size() <= kBodyMax, "the body is bounded");
  }
  if (reader.state() == State::kRefused) {
    BULLA_CHECK(reader.refusal().any() && !reader.refusal().error.message.empty(),
                "a refusal says why");
    return {State::kRefused, 0, {}, {}};
  }
  return {reader.state(), taken, reader.request().target, reader.request().body};
}

}  // namespace

// A request ends at the same byte and means the same however its bytes arrive: otherwise it could
// be smuggled past one reader to another.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 8192));
  Outcome whole = ReadInSteps(bytes, 8192);
  Outcome by_byte = ReadInSteps(bytes, 1);
  if (whole.state == State::kDone || by_byte.state == State::kDone) {
    BULLA_CHECK(whole == by_byte, "the same request however it arrives");
  }
  bulla::HttpRequestReader reader(kBodyMax);
  reader.Consume(bytes);
  if (reader.state() < State::kDone) reader.ConsumeEnd();
  return 0;
}
