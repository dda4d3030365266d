#pragma once

// Frames of HTTP/2 by hand, as a peer writes them who keeps to no rule, and what a session has said
// to it, taken apart. Header fields are literals without Huffman, so that a test can see them.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace bulla::http2_frames {

enum Type : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
  kUnknown = 0x7e,
};
enum Flags : std::uint8_t {
  kNone = 0,
  kAck = 1,
  kEndStream = 1,
  kEndHeaders = 4,
  kPadded = 8,
};

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

inline std::string Number32(std::uint32_t value) {
  std::uint8_t bytes[4];
  StoreBigEndian32(value, bytes);
  return std::string(AsText(bytes));
}

inline std::string Frame(std::uint8_t type, std::uint8_t flags, std::int32_t stream,
                         std::string_view payload) {
  std::string frame = Number32(static_cast<std::uint32_t>(payload.size())).substr(1);
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  return frame.append(Number32(static_cast<std::uint32_t>(stream))).append(payload);
}

using Fields = std::vector<std::pair<std::string, std::string>>;

// Lengths below 127.
inline std::string HeaderText(const Fields& fields) {
  std::string block;
  for (const auto& [name, value] : fields) {
    block.push_back(0);
    block.append(1, static_cast<char>(name.size())).append(name);
    block.append(1, static_cast<char>(value.size())).append(value);
  }
  return block;
}

inline Fields RequestFields(std::string_view path = "/test.Service/Unary") {
  return {{":method", "POST"},    {":scheme", "http"}, {":path", std::string(path)},
          {":authority", "test"}, {"te", "trailers"},  {"content-type", "application/grpc"}};
}

inline std::string Headers(std::int32_t stream, const Fields& fields, bool end = false) {
  const int flags = kEndHeaders | (end ? kEndStream : kNone);
  return Frame(kHeaders, static_cast<std::uint8_t>(flags), stream, HeaderText(fields));
}

inline std::string Data(std::int32_t stream, std::string_view bytes, bool end = false) {
  return Frame(kData, end ? kEndStream : kNone, stream, bytes);
}

inline std::string WindowUpdate(std::int32_t stream, std::uint32_t bytes) {
  return Frame(kWindowUpdate, kNone, stream, Number32(bytes));
}

// What a client says first.
inline std::string Hello() { return std::string(kPreface) + Frame(kSettings, kNone, 0, ""); }

struct ParsedFrame {
  std::uint8_t type;
  std::uint8_t flags;
  std::int32_t stream;
  std::string payload;

  std::uint32_t number() const { return LoadBigEndian32(AsBytes(payload).data()); }
};

// The frames of a session's output, which are whole.
inline std::vector<ParsedFrame> Parse(std::string_view bytes) {
  if (bytes.starts_with(kPreface)) bytes.remove_prefix(kPreface.size());
  std::vector<ParsedFrame> frames;
  while (bytes.size() >= 9) {
    const ByteSpan head = AsBytes(bytes);
    const std::size_t size = static_cast<std::size_t>(head[0] << 16 | head[1] << 8 | head[2]);
    frames.push_back({head[3], head[4], static_cast<std::int32_t>(LoadBigEndian32(&head[5])),
                      std::string(bytes.substr(9, size))});
    bytes.remove_prefix(9 + size);
  }
  return frames;
}

}  // namespace bulla::http2_frames
