#include "gateway/http/chunked_body.h"

#include <algorithm>

#include "gateway/frontend/http_text.h"

namespace bulla {
namespace {

// Zeros in front of a size are allowed, but not so many that another reader's number could
// overflow.
constexpr int kSizeDigitsMax = 16;

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::size_t ChunkedBody::Consume(std::string_view bytes, std::string& body) {
  std::size_t used = 0;
  while (used < bytes.size() && state_ == State::kMore) {
    if (at_ != At::kData) {
      Take(bytes[used++]);
      continue;
    }
    std::size_t n = std::min(chunk_bytes_left_, bytes.size() - used);
    body.append(bytes.substr(used, n));
    used += n;
    chunk_bytes_left_ -= n;
    if (chunk_bytes_left_ == 0) at_ = At::kDataCr;
  }
  return used;
}

void ChunkedBody::Take(char c) {
  switch (at_) {
    case At::kSizeFirst:
      chunk_bytes_left_ = 0;
      size_digits_ = 0;
      at_ = At::kSize;
      if (HexValue(c) < 0) {
        state_ = State::kMalformed;
      } else {
        TakeSizeDigit(c);
      }
      return;
    case At::kSize:
      return TakeSizeDigit(c);
    case At::kSizeSpace:  // only in front of an extension (BWS)
      if (c == ';') {
        at_ = At::kExtension;
      } else if (kHttpSpace.find(c) == kHttpSpace.npos) {
        state_ = State::kMalformed;
      }
      return CountOverhead();
    case At::kExtension:
      return Skip(c, At::kSizeLf);
    case At::kSizeLf:
      body_bytes_left_ -= chunk_bytes_left_;
      return Expect(c, '\n', chunk_bytes_left_ > 0 ? At::kData : At::kTrailerFirst);
    case At::kDataCr:
      return Expect(c, '\r', At::kDataLf);
    case At::kDataLf:
      return Expect(c, '\n', At::kSizeFirst);
    case At::kTrailerFirst:
      if (c == '\r') {
        at_ = At::kLastLf;
        return;
      }
      at_ = At::kTrailerName;
      if (!IsTokenChar(c)) state_ = State::kMalformed;
      return CountOverhead();
    case At::kTrailerName:
      return TakeTrailerName(c);
    case At::kTrailerValue:
      return Skip(c, At::kTrailerLf);
    case At::kTrailerLf:
      return Expect(c, '\n', At::kTrailerFirst);
    case At::kLastLf:
      state_ = c == '\n' ? State::kDone : State::kMalformed;
      return;
    case At::kData:
      return;  // Consume takes these
  }
}

void ChunkedBody::TakeSizeDigit(char c) {
  if (c == '\r') {
    at_ = At::kSizeLf;
  } else if (c == ';') {
    at_ = At::kExtension;
  } else if (kHttpSpace.find(c) != kHttpSpace.npos) {
    at_ = At::kSizeSpace;
    CountOverhead();
  } else if (int digit = HexValue(c); digit < 0 || ++size_digits_ > kSizeDigitsMax) {
    state_ = State::kMalformed;
  } else {
    chunk_bytes_left_ = chunk_bytes_left_ * 16 + static_cast<std::size_t>(digit);
    if (chunk_bytes_left_ > body_bytes_left_) state_ = State::kTooLarge;
  }
}

void ChunkedBody::TakeTrailerName(char c) {
  if (c == ':') {
    at_ = At::kTrailerValue;
  } else if (!IsTokenChar(c)) {
    state_ = State::kMalformed;
  }
  CountOverhead();
}

void ChunkedBody::CountOverhead() {
  if (state_ == State::kMore && overhead_bytes_left_-- == 0) state_ = State::kTooLarge;
}

void ChunkedBody::Skip(char c, At at_end_of_line) {
  if (c == '\r') {
    at_ = at_end_of_line;
  } else if ((c >= 0 && c < ' ' && c != '\t') || c == 0x7f) {
    state_ = State::kMalformed;
  } else {
    CountOverhead();
  }
}

void ChunkedBody::Expect(char c, char wanted, At then) {
  at_ = then;
  if (c != wanted) state_ = State::kMalformed;
}

}  // namespace bulla
