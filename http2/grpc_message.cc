#include "http2/grpc_message.h"

#include <algorithm>
#include <utility>

namespace bulla::http2 {
namespace {

// What is kept of a buffer between two messages.
constexpr std::size_t kKeptBytesMax = 4096;

}  // namespace

GrpcMessageReader::Found GrpcMessageReader::ReadPrefix(ByteSpan prefix) {
  announced_ = LoadBigEndian32(prefix.data() + 1);
  if (prefix[0] != 0) return Found::kCompressed;
  return announced_ > bytes_max_ ? Found::kTooLong : Found::kMore;
}

GrpcMessageReader::Found GrpcMessageReader::Next(ByteSpan& bytes, ByteSpan& message) {
  if (std::exchange(done_, false)) {
    partial_.clear();
    if (partial_.capacity() > kKeptBytesMax) partial_.shrink_to_fit();
  }
  const auto take = [&](std::size_t count) {
    count = std::min(count, bytes.size());
    partial_.append(AsText(bytes.first(count)));
    bytes = bytes.subspan(count);
  };

  if (partial_.empty() && bytes.size() >= kGrpcPrefixBytes) {  // all of it here?
    if (const Found bad = ReadPrefix(bytes.first(kGrpcPrefixBytes)); bad != Found::kMore)
      return bad;
    if (bytes.size() - kGrpcPrefixBytes >= announced_) {
      message = bytes.subspan(kGrpcPrefixBytes, announced_);
      bytes = bytes.subspan(kGrpcPrefixBytes + announced_);
      return Found::kMessage;
    }
  }
  if (partial_.size() < kGrpcPrefixBytes) {
    take(kGrpcPrefixBytes - partial_.size());
    if (partial_.size() < kGrpcPrefixBytes) return Found::kMore;
    const ByteSpan prefix = AsBytes(partial_);
    if (const Found bad = ReadPrefix(prefix); bad != Found::kMore) return bad;
  }
  take(kGrpcPrefixBytes + announced_ - partial_.size());
  if (partial_.size() < kGrpcPrefixBytes + announced_) return Found::kMore;
  done_ = true;
  message = AsBytes(partial_).subspan(kGrpcPrefixBytes);
  return Found::kMessage;
}

void AppendGrpcMessage(ByteSpan message, std::string& out) {
  std::uint8_t prefix[kGrpcPrefixBytes] = {0};
  StoreBigEndian32(static_cast<std::uint32_t>(message.size()), prefix + 1);
  out.append(AsText(prefix)).append(AsText(message));
}

}  // namespace bulla::http2
