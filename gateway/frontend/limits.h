#pragma once

// The bounds of the front ends, HTTP and gRPC, each with its motive. What one call may have is in
// base/limits.h, how many are let in, in gateway/access/admission.h.

#include <chrono>
#include <cstddef>

#include "base/limits.h"

namespace bulla::limits {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- The time of a call ----------------------------------------------------------------------

// A signature takes 1 ms; the gateway's own retries take 200 ms in all (spec S14). A caller who has
// waited a second is better served by an answer.
inline constexpr milliseconds kSignTimeout{1000};
// A create may wait for an enclave's sealing key (a KMS round trip) and for an fsync.
inline constexpr milliseconds kCreateTimeout{5000};

// ---- HTTP ------------------------------------------------------------------------------------

// Of kHttpHeaderBytesMax the request line: a little more than the 8000 bytes that RFC 9112, section
// 3, has every server take.
inline constexpr std::size_t kHttpRequestLineBytesMax = 8 * 1024;
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

// ---- gRPC ------------------------------------------------------------------------------------

// Items of one SignStream whose results the caller has not taken yet; above it the stream is not
// read, and HTTP/2 flow control holds the caller. Four full messages, so that a batch is under way
// while another is on the wire.
inline constexpr std::size_t kStreamItemsUnansweredMax = 4 * kBatchItemsMax;
// Calls of one connection at a time: many callers share a channel, none may be without end.
inline constexpr int kGrpcCallsPerConnectionMax = 4096;
// A caller needs one connection, or a few. Each costs some 40 KiB and a descriptor.
inline constexpr std::size_t kGrpcConnectionsMax = 4 * 1024;
// Messages of one connection that have begun and not ended: two of the largest.
inline constexpr std::size_t kGrpcPartialBytesMax = 2 * kRequestBodyBytesMax;
// What all connections hold of requests and of answers that their callers do not take; with more,
// those who hold most are ended. As much as HTTP has for requests.
inline constexpr std::size_t kGrpcMemoryBytesMax = kHttpRequestPoolBytes;
// A channel may be idle for as long as its owner likes, so a connection ends only when it is lost:
// when a PING, after so long without a word, is not answered. Below the 350 s at which load
// balancers forget it.
inline constexpr seconds kGrpcKeepaliveInterval{60};
inline constexpr seconds kGrpcKeepaliveTimeout{20};

}  // namespace bulla::limits
