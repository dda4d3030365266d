// A request ends at the same byte and means the same however its bytes arrive: otherwise it could
// be smuggled past one reader to another.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "base/check.h"
#include "gateway/http/request.h"

namespace {

namespace http = boost::beast::http;

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

// Where another reader of the same bytes takes the header too, it has understood the same.
void CompareWithBeast(std::string_view bytes, const bulla::HttpRequest& ours) {
  if (bytes.starts_with("\r\n")) bytes.remove_prefix(2);  // the empty line in front
  http::request_parser<http::empty_body> beast;
  beast.skip(true);
  beast.header_limit(8192);
  boost::beast::error_code error;
  beast.put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
  if (error || !beast.is_header_done()) return;
  const auto& theirs = beast.get();
  auto text = [](boost::beast::string_view view) {
    return std::string_view(view.data(), view.size());
  };
  BULLA_CHECK(text(theirs.method_string()) == ours.method, "one method");
  BULLA_CHECK((theirs.version() == 11) == ours.is_http_1_1, "one version");
  // Of an absolute-form, what is behind the authority, whose empty path is "/" or "*".
  BULLA_CHECK(text(theirs.target()).ends_with(std::string_view(ours.target).substr(1)),
              "one target");
  if (text(theirs.target()) == ours.target && ours.has_authority) {
    BULLA_CHECK(text(theirs[http::field::host]) == ours.authority, "one host");
  }
  BULLA_CHECK(text(theirs[http::field::content_type]) == ours.content_type, "one type");
  BULLA_CHECK(beast.chunked() || beast.content_length().value_or(0) == ours.body.size(),
              "one length");
  BULLA_CHECK(!beast.chunked() || ours.has_body, "one coding");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 8192));
  Outcome whole = ReadInSteps(bytes, 8192);
  Outcome by_byte = ReadInSteps(bytes, 1);
  if (whole.state == State::kDone || by_byte.state == State::kDone) {
    BULLA_CHECK(whole == by_byte, "the same request however it arrives");
  }
  bulla::HttpRequestReader reader(kBodyMax);
  reader.Consume(bytes);
  if (reader.state() == State::kDone) CompareWithBeast(bytes, reader.request());
  if (reader.state() < State::kDone) reader.ConsumeEnd();
  return 0;
}
