#pragma once

// The chunked transfer coding (RFC 9112, section 7.1), read as its bytes come in. Boost.Beast has a
// decoder too, but 1.81's aborts the process when the last chunk of an empty body arrives in two
// pieces.
//
// Strict: lines end in CRLF, sizes are bare hex digits, no control characters in what is skipped,
// and what looks like no trailer field is none. Chunk extensions and trailers are counted and
// dropped.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bulla {

// Not thread-safe.
class ChunkedBody {
 public:
  enum class State { kMore, kDone, kMalformed, kTooLarge };

  // At most `body_bytes_max` of data, and `overhead_bytes_max` of extensions and trailers.
  ChunkedBody(std::size_t body_bytes_max, std::size_t overhead_bytes_max)
      : body_bytes_left_(body_bytes_max), overhead_bytes_left_(overhead_bytes_max) {}

  // Appends the data in `bytes` to `body`. Returns how many bytes belonged to this body: all of
  // them while it is kMore. Requires: state() is kMore.
  std::size_t Consume(std::string_view bytes, std::string& body);
  State state() const { return state_; }

 private:
  enum class At {
    kSizeFirst,
    kSize,
    kSizeSpace,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerFirst,
    kTrailerName,
    kTrailerValue,
    kTrailerLf,
    kLastLf
  };

  void Take(char c);
  void TakeSizeDigit(char c);
  void TakeTrailerName(char c);
  void Skip(char c, At at_end_of_line);
  void CountOverhead();
  void Expect(char c, char wanted, At then);

  State state_ = State::kMore;
  At at_ = At::kSizeFirst;
  std::size_t body_bytes_left_;
  std::size_t overhead_bytes_left_;
  std::size_t chunk_bytes_left_ = 0;
  int size_digits_ = 0;
};

}  // namespace bulla
