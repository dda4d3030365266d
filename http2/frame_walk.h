#pragma once

// Sees the head of every frame that arrives, those included that nghttp2 passes over in silence:
// how many bring nothing, and whether a header block has begun that does not end. Pure.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace bulla::http2 {

class FrameWalk {
 public:
  // `preface_bytes` come before the first frame.
  explicit FrameWalk(std::size_t preface_bytes) : skip_(preface_bytes) {}

  // Takes the next bytes of the connection; returns how many frames began in them that bring
  // neither data nor a request.
  std::size_t Feed(ByteSpan bytes) {
    std::size_t idle = 0;
    while (!bytes.empty()) {
      const std::size_t part =
          std::min(bytes.size(), skip_ > 0 ? skip_ : head_.size() - head_size_);
      if (skip_ > 0) {
        skip_ -= part;
      } else {
        std::copy_n(bytes.begin(), part, head_.begin() + static_cast<std::ptrdiff_t>(head_size_));
        head_size_ += part;
        if (head_size_ == head_.size() && BeginFrame()) ++idle;
      }
      bytes = bytes.subspan(part);
    }
    return idle;
  }

  // Between the head of a HEADERS frame and the last byte of its block; and how many have begun.
  bool in_header_block() const { return block_open_ || (in_headers_ && skip_ > 0); }
  std::uint64_t header_blocks() const { return header_blocks_; }

 private:
  static constexpr std::uint8_t kData = 0;
  static constexpr std::uint8_t kHeaders = 1;
  static constexpr std::uint8_t kContinuation = 9;
  static constexpr std::uint8_t kEndHeaders = 0x4;
  static constexpr std::uint8_t kPadded = 0x8;

  // Whether it is a frame that brings nothing. Padding may be all that there is in one of DATA; if
  // it is not, the data speaks for itself.
  bool BeginFrame() {
    head_size_ = 0;
    skip_ = static_cast<std::size_t>(head_[0] << 16 | head_[1] << 8 | head_[2]);
    const std::uint8_t type = head_[3];
    const std::uint8_t flags = head_[4];
    in_headers_ = type == kHeaders || type == kContinuation;
    if (in_headers_) block_open_ = (flags & kEndHeaders) == 0;
    if (type == kHeaders) ++header_blocks_;
    if (type == kData) return skip_ == 0 || (flags & kPadded) != 0;
    return type != kHeaders;
  }

  std::size_t skip_;  // bytes to pass over
  std::array<std::uint8_t, 9> head_{};
  std::size_t head_size_ = 0;
  bool in_headers_ = false;
  bool block_open_ = false;
  std::uint64_t header_blocks_ = 0;
};

}  // namespace bulla::http2
