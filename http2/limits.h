#pragma once

// What a peer may do to one HTTP/2 connection, each bound with its motive. They hold for both
// roles: an enclave does not trust its gateway, nor a gateway its enclaves. What the two ends of
// the house set differently (streams, windows, memory, times) is Session::Options.
//
// Who goes over a bound of one stream loses that stream; over one of the connection, the connection
// (ENHANCE_YOUR_CALM), since there is nobody left to blame but the peer.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace bulla::http2::limits {

// ---- Header fields ----

// Name + value + 32 of each field (RFC 9113, section 6.5.2). What we read needs under 1 KiB,
// proxies add a few of their own. nghttp2 announces its limit and does not enforce it: a few bytes
// of HPACK that refer to the table make megabytes of header fields.
inline constexpr std::size_t kHeaderListBytesMax = 16 * 1024;
// A header block that does not fit two frames of 16 KiB is over the bound above in any case.
// nghttp2's own limit is 8.
inline constexpr std::size_t kContinuationsMax = 8;
// From a block's first frame to its last: no honest peer stops in the middle, and nothing else can
// come on the connection meanwhile.
inline constexpr std::chrono::milliseconds kHeaderTimeout{5000};

// ---- Work that a peer makes without asking for anything ----

// Frames that bring nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, unknown ones,
// DATA without data. 20 to 70 ns each. An honest peer sends two or three for each message, so each
// piece of data and each stream pays for kFramesForProgress of them.
inline constexpr std::uint64_t kIdleFramesBurst = 2000;
inline constexpr std::uint64_t kIdleFramesPerSecond = 100;
inline constexpr std::uint64_t kFramesForProgress = 4;
// Streams that a peer opens and resets (CVE-2023-44487). Callers that cancel do so now and then.
inline constexpr std::uint64_t kPeerResetsBurst = 100;
inline constexpr std::uint64_t kPeerResetsPerSecond = 20;
// Streams that we have to reset: malformed requests, windows overrun, headers over the bound
// (CVE-2025-8671). Not counted: those that end an answered request early, which are no fault, and
// those over MAX_CONCURRENT_STREAMS, which a client that has not read our SETTINGS yet opens in
// good faith; they count as frames that bring nothing.
inline constexpr std::uint64_t kOwnResetsBurst = 100;
inline constexpr std::uint64_t kOwnResetsPerSecond = 1;
// Answers to PING and SETTINGS that the peer has not read yet. nghttp2's own limit is 1000.
inline constexpr std::size_t kUnsentAcksMax = 100;
// Settings in one frame. There are ten.
inline constexpr std::size_t kSettingsMax = 16;

// ---- A peer that does not take what it is sent ----

// Bytes that wait while the kernel takes none: with more, nothing is read from the peer.
inline constexpr std::size_t kUnsentBytesMax = 64 * 1024;
// Bytes of frames that are gathered at a time, before the connection's other work has its turn.
inline constexpr std::size_t kGatherBytesMax = 256 * 1024;
// One system call: some kernels corrupt larger writes to a vsock.
inline constexpr std::size_t kSendBytesMax = 32 * 1024;
// The kernel has taken nothing for so long.
inline constexpr std::chrono::seconds kUnsentTimeout{10};
// A stream's window has been shut for so long while something waits to be sent on it.
inline constexpr std::chrono::seconds kStalledStreamTimeout{20};

// ---- The end ----

// From the notice that no new streams are wanted to the last word on which were taken: until the
// peer has answered a PING, or so long.
inline constexpr std::chrono::milliseconds kDrainNoticeTimeout{1000};

}  // namespace bulla::http2::limits
