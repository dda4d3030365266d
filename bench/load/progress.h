#pragma once

// How far long work is. Nothing of work that is over within a second; then a terminal has one line
// that is written again each second, and a file or a pipe a line every ten.

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"

namespace bulla {

// "checking signatures: 3200000 of 12600000 (25 %), 52000/s, 3 min 1 s left". Without `total` (0)
// there is no share and no time left.
std::string ProgressText(std::string_view what, std::uint64_t done, std::uint64_t total,
                         Duration elapsed);

// Confined to one thread.
class Progress {
 public:
  Progress(std::string what, std::uint64_t total, const Clock& clock, std::ostream& err)
      : Progress(std::move(what), total, clock, err, IsTerminal(err)) {}
  Progress(std::string what, std::uint64_t total, const Clock& clock, std::ostream& err,
           bool terminal);
  ~Progress();  // of what was shown, the last line says how it ended
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Called as often as one likes.
  void Show(std::uint64_t done);

 private:
  // Whether it is std::cerr, and that a terminal.
  static bool IsTerminal(const std::ostream& err);
  void Write(MonotonicTime now);

  const std::string what_;
  const std::uint64_t total_;
  const Clock& clock_;
  std::ostream& err_;
  const bool terminal_;
  const Duration interval_;
  const MonotonicTime began_;
  MonotonicTime next_;
  std::uint64_t done_ = 0;
  bool shown_ = false;
};

}  // namespace bulla
