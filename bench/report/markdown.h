#pragma once

// A report as Markdown, as GitHub shows it.

#include <string>

#include "bench/report/page.h"

namespace bulla {

// Headings, paragraphs and tables.
std::string RenderMarkdown(const ReportPage& page);

}  // namespace bulla
