#pragma once

#include <string>

#include "bench/report/page.h"

namespace bulla {

// A report as Markdown: headings, paragraphs and tables, as GitHub shows them.
std::string RenderMarkdown(const ReportPage& page);

}  // namespace bulla
