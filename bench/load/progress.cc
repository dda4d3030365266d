#include "bench/load/progress.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <iostream>
#include <unistd.h>
#include <utility>

namespace bulla {
namespace {

constexpr Duration kTerminalInterval = std::chrono::seconds(1);
constexpr Duration kFileInterval = std::chrono::seconds(10);

std::string TimeText(double seconds) {
  const auto whole = std::llround(seconds);
  return whole < 60 ? fmt::format("{} s", whole)
                    : fmt::format("{} min {} s", whole / 60, whole % 60);
}

}  // namespace

std::string ProgressText(std::string_view what, std::uint64_t done, std::uint64_t total,
                         Duration elapsed) {
  const double seconds = std::max(std::chrono::duration<double>(elapsed).count(), 1e-9);
  const double rate = static_cast<double>(done) / seconds;
  std::string text = fmt::format("{}: {}", what, done);
  if (total > 0) text += fmt::format(" of {} ({} %)", total, 100 * done / total);
  if (done == 0) return text;
  text += fmt::format(", {:.0f}/s", rate);
  if (done >= total) return text + fmt::format(", took {}", TimeText(seconds));
  return text + fmt::format(", {} left", TimeText(static_cast<double>(total - done) / rate));
}

Progress::Progress(std::string what, std::uint64_t total, const Clock& clock, std::ostream& err,
                   bool terminal)
    : what_(std::move(what)),
      total_(total),
      clock_(clock),
      err_(err),
      terminal_(terminal),
      interval_(terminal ? kTerminalInterval : kFileInterval),
      began_(clock.Now()),
      next_(began_ + interval_) {}

Progress::~Progress() {
  if (!shown_) return;
  Write(clock_.Now());
  if (terminal_) err_ << std::endl;
}

void Progress::Show(std::uint64_t done) {
  done_ = done;
  const MonotonicTime now = clock_.Now();
  if (now < next_) return;
  next_ = now + interval_;
  Write(now);
}

bool Progress::IsTerminal(const std::ostream& err) {
  return &err == &std::cerr && ::isatty(STDERR_FILENO) == 1;
}

void Progress::Write(MonotonicTime now) {
  shown_ = true;
  const std::string text = ProgressText(what_, done_, total_, now - began_);
  if (terminal_) {
    err_ << '\r' << text << "\x1b[K" << std::flush;  // and nothing of the line before behind it
  } else {
    err_ << text << std::endl;
  }
}

}  // namespace bulla
