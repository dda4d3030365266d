#include "bench/report/markdown.h"

#include <fmt/format.h>

namespace bulla {
namespace {

// Text that stands for itself, on one line that something else begins. CommonMark takes a backslash
// before any ASCII punctuation; control characters become spaces.
std::string EscapeMarkdown(std::string_view text) {
  constexpr std::string_view kSpecial = R"(\`*_[]<>#|&~)";
  std::string escaped;
  for (char c : text) {
    if (kSpecial.find(c) != std::string_view::npos) escaped += '\\';
    escaped += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  }
  return escaped;
}

std::string Row(const ReportFigure& figure) {
  return fmt::format("| {} | {} | {} |\n", EscapeMarkdown(figure.name), figure.value,
                     EscapeMarkdown(figure.meaning));
}

}  // namespace

std::string RenderMarkdown(const ReportPage& page) {
  std::string text = "# " + EscapeMarkdown(page.title) + "\n\n";
  for (const std::string& condition : page.conditions) text += EscapeMarkdown(condition) + "\n";
  text += "\n**" + EscapeMarkdown(page.verdict) + "**\n\n| | | |\n|---|--:|---|\n";
  for (const ReportFigure& figure : page.counts) text += Row(figure);
  text += "\n| latency | |\n|---|--:|\n";
  for (const ReportFigure& figure : page.latencies) {
    text += fmt::format("| {} | {} |\n", EscapeMarkdown(figure.name), figure.value);
  }
  if (std::optional<RunSecond> worst = WorstSecond(page.seconds)) {
    text += fmt::format("\nThe worst second of the measured ones, at {} s: p50 {}, p99 {}.\n",
                        std::chrono::duration_cast<std::chrono::seconds>(worst->at).count(),
                        MsText(worst->p50), MsText(worst->p99));
  }
  for (const std::string& note : page.notes) text += "\n" + EscapeMarkdown(note) + "\n";
  return text;
}

}  // namespace bulla
