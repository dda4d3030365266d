#pragma once

// Every bound of the house, each with its motive. Full means refuse at once, never grow.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace bulla::limits {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- What one caller may send, over HTTP and gRPC alike --------------------------------------

// Request line and header fields. Ours need under 1 KiB; proxies add a few of their own.
inline constexpr std::size_t kHttpHeaderBytesMax = 16 * 1024;
// Of that the request line: a little more than the 8000 bytes that RFC 9112, section 3, has every
// server take.
inline constexpr std::size_t kHttpRequestLineBytesMax = 8 * 1024;
// A batch of 1024 items is 150 KiB. The rest is room for an answer: a digest of a million bytes
// (two million hex digits) is still read to its end, so that the refusal can name its length.
inline constexpr std::size_t kRequestBodyBytesMax = 4 * 1024 * 1024;
// Items of one batch call or one message of a stream: 1024 signatures are 30 ms of one core, more
// would let one caller hold up the others.
inline constexpr std::size_t kBatchItemsMax = 1024;
// Levels of arrays and objects. The contract's deepest body, a batch, has three.
inline constexpr std::size_t kJsonDepthMax = 8;
// The longest piece of what a caller sent that an error message repeats.
inline constexpr std::size_t kEchoCharsMax = 64;
// Long enough for a UUID behind a prefix; short enough for every log line.
inline constexpr std::size_t kRequestIdCharsMax = 128;
// It is a column with a unique index in the store.
inline constexpr std::size_t kIdempotencyKeyCharsMax = 255;

// Signatures asked for and not yet answered, over both faces. At 30 us each on one core this is two
// seconds of work: more than any deadline allows, so more would only be refused later. What the
// enclaves take is less and is found out: gateway/link/concurrency_limit.
inline constexpr std::size_t kCallsInFlightMax = 64 * 1024;

// ---- The HTTP face as a whole ----------------------------------------------------------------

// Callers keep connections open; each costs some 8 KiB here and a descriptor.
inline constexpr std::size_t kHttpConnectionsMax = 16 * 1024;
// Connections above those that are told so and then linger as after any refusal, lest the request
// that was on its way to us destroy the answer. What is over this too gets no more than a try.
inline constexpr std::size_t kHttpTurnedAwayMax = 512;
// File descriptors that are left to everything else: enclaves, gRPC, KMS, the store, and
// connections that are turned away.
inline constexpr std::size_t kOtherDescriptors = 1024 + kHttpTurnedAwayMax;
// What was read of requests, beyond the first 4 KiB of each one's body and 4 KiB of its header,
// over all connections: sixty-four of the largest at a time, or 1600 batches of 1024.
inline constexpr std::size_t kHttpRequestPoolBytes = 256 * 1024 * 1024;
// Answers that their callers do not take, over all connections; beyond it, such a caller is let go.
// A batch of 2 KiB is answered with some 200 KiB, even if nothing in it is right, so without a
// bound every connection would hold a hundred times what it sent. Eight hundred of the largest at a
// time; an answer that the kernel takes at once, as it does for callers who read, does not count.
inline constexpr std::size_t kHttpAnswerPoolBytes = 256 * 1024 * 1024;

// Longer than the 60 s at which common proxies and load balancers give up an idle connection, so
// that it is they who close it and no request meets a closing door.
inline constexpr seconds kHttpIdleTimeout{75};
// From a request's first byte to the end of its header, and from there to the end of its body: a
// caller who trickles bytes may not hold a connection for nothing.
inline constexpr seconds kHttpHeaderTimeout{10};
inline constexpr seconds kHttpBodyTimeout{30};
// To take an answer off our hands.
inline constexpr seconds kHttpWriteTimeout{30};
// After a refusal that leaves part of the request unread: closing at once would reset the
// connection and destroy the answer on its way, so the rest is read and dropped, up to here.
inline constexpr seconds kHttpLingerTimeout{2};
inline constexpr std::size_t kHttpLingerBytesMax = 64 * 1024 * 1024;
// While draining, an idle connection stays open this long for the request that may already be on
// its way to us.
inline constexpr milliseconds kHttpDrainGrace{500};

// ---- The gRPC face ---------------------------------------------------------------------------

// Items of one SignStream whose results the caller has not taken yet; above it the stream is not
// read, and HTTP/2 flow control holds the caller. Four full messages, so that a batch is under way
// while another is on the wire.
inline constexpr std::size_t kStreamItemsUnansweredMax = 4 * kBatchItemsMax;
// Calls of one connection at a time: many callers share a channel, none may be without end.
inline constexpr int kGrpcCallsPerConnectionMax = 4096;

// ---- The admin listener ----------------------------------------------------------------------

inline constexpr std::size_t kAdminConnectionsMax = 64;  // a scraper, a probe, a few humans
// Beyond those, when all of them are at work: for the probes that decide whether this gateway is
// sent work, or killed.
inline constexpr std::size_t kAdminProbesMax = 16;
inline constexpr std::size_t kAdminKeysPerPageMax = 1000;
inline constexpr std::size_t kAdminBodyBytesMax = 4 * 1024;  // an address and a number, many times

// ---- Time ------------------------------------------------------------------------------------

// A signature takes 1 ms; the gateway's own retries take 200 ms in all (spec S14). A caller who has
// waited a second is better served by an answer.
inline constexpr milliseconds kSignTimeout{1000};
// A create may wait for an enclave's sealing key (a KMS round trip) and for an fsync.
inline constexpr milliseconds kCreateTimeout{5000};

}  // namespace bulla::limits
