#pragma once

// gRPC's framing of messages in a stream's data: a byte that says whether it is compressed, four of
// length (big-endian), the message. Pure.

#include <cstddef>
#include <string>

#include "base/bytes.h"

namespace bulla::http2 {

inline constexpr std::size_t kGrpcPrefixBytes = 5;

// Finds messages in data that arrives in any pieces. A message that is there as a whole is not
// copied; of one that is not, as much memory is taken as has arrived, whatever length it announces.
class GrpcMessageReader {
 public:
  explicit GrpcMessageReader(std::size_t message_bytes_max) : bytes_max_(message_bytes_max) {}

  enum class Found {
    kMore,        // all of `bytes` is taken, and no message is complete
    kMessage,     // `message` is one, until the next call
    kCompressed,  // refused: the stream has to be ended
    kTooLong,     // the same
  };
  // Takes from the front of `bytes`, which is left with the rest.
  Found Next(ByteSpan& bytes, ByteSpan& message);

  // A message has begun and not ended.
  bool in_message() const { return !partial_.empty() && !done_; }
  // That are kept of it.
  std::size_t memory_bytes() const { return partial_.capacity(); }
  std::size_t announced_bytes() const { return announced_; }  // by the last prefix

 private:
  // What the prefix says; kMore when it is fine.
  Found ReadPrefix(ByteSpan prefix);

  std::size_t bytes_max_;
  std::size_t announced_ = 0;
  std::string partial_;  // prefix and all
  bool done_ = false;    // partial_ is the message that was found last
};

void AppendGrpcMessage(ByteSpan message, std::string& out);

}  // namespace bulla::http2
