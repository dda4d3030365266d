#pragma once

// Request ids: what names one call in answers, log lines and audit records. A caller's own is taken
// when it is harmless to print anywhere; otherwise, or without one, it gets a new one.

#include <cstdint>
#include <string>
#include <string_view>

namespace bulla {

// 1 to limits::kRequestIdCharsMax of [A-Za-z0-9._:-]: no quoting is ever needed, in a header, in
// JSON or in a log.
bool IsAcceptableRequestId(std::string_view id);

// Makes ids of 24 hexadecimal digits: 64 random bits drawn once, then a counter. Unique, not secret
// and not unpredictable. Not thread-safe: one to a thread.
class RequestIdSource {
 public:
  RequestIdSource();
  std::string Next();
  // The caller's id when it is acceptable, else a new one.
  std::string Take(std::string_view callers);
  // The same into `out`, whose memory is used again.
  void TakeInto(std::string_view callers, std::string& out);

 private:
  void AppendNext(std::string& out);

  std::string prefix_;
  std::uint32_t next_ = 0;
};

}  // namespace bulla
