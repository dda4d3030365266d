#pragma once

// What one caller may send, over HTTP and gRPC alike: the bounds of the public contract, which the
// gateway enforces and its clients reckon with. Every other bound stands in the room that keeps it,
// where several files there need it in a limits.h of its own; each has its motive beside it. Full
// means refuse at once, never grow.

#include <cstddef>

namespace bulla::limits {

// Request line and header fields. Ours need under 1 KiB; proxies add a few of their own.
inline constexpr std::size_t kHttpHeaderBytesMax = 16 * 1024;
// A batch of 1024 items is 150 KiB. The rest is room for an answer: a digest of a million bytes
// (two million hex digits) is still read to its end, so that the refusal can name its length.
inline constexpr std::size_t kRequestBodyBytesMax = 4 * 1024 * 1024;
// Items of one batch call or one message of a stream: 1024 signatures are 30 ms of one core, more
// would let one caller hold up the others.
inline constexpr std::size_t kBatchItemsMax = 1024;
// Levels of arrays and objects. The contract's deepest body, a batch, has three.
inline constexpr std::size_t kJsonDepthMax = 8;
// Long enough for a UUID behind a prefix; short enough for every log line.
inline constexpr std::size_t kRequestIdCharsMax = 128;
// It is a column with a unique index in the store.
inline constexpr std::size_t kIdempotencyKeyCharsMax = 255;

}  // namespace bulla::limits
