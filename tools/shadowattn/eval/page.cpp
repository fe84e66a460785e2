#include "eval/page.h"

#include <algorithm>

#include "common/svg.h"
#include "common/text.h"

namespace shadowattn::tool::eval {
namespace {

using svg::escaped;

// --s0 … are the colours of lines and bars (Okabe and Ito's, which colour-blind people can tell
// apart), --heat that of heat maps.
constexpr char kStyle[] = R"(
:root { color-scheme: light dark; --page: #ffffff; --ink: #1d2127; --faint: #5c6670;
  --rule: #d9dee3; --stripe: #f5f7f9; --heat: #2f7fd1;
  --s0: #1d2127; --s1: #0072b2; --s2: #d55e00; --s3: #009e73; --s4: #b3568c; --s5: #b87f00;
  --s6: #3b9ccf; --s7: #7a5195; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --ink: #e4e8ec; --faint: #9aa5b0;
  --rule: #343b43; --stripe: #1c2025; --heat: #3b8fe0;
  --s0: #e4e8ec; --s1: #4fa8e8; --s2: #f0813a; --s3: #2fc79a; --s4: #e08fbd; --s5: #e6b450;
  --s6: #7cc9f2; --s7: #b48ad6; } }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .25rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; } a { color: inherit; }
td.prose, th.prose { text-align: left; white-space: normal; min-width: 6rem; vertical-align: top; }
p, ul.facts { color: var(--faint); margin: .25rem 0 .75rem; }
ul.facts { list-style: none; padding: 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; } tbody tr:nth-child(even) { background: var(--stripe); }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .faint { fill: var(--faint); }
svg .rule { stroke: var(--rule); } svg .axis { stroke: var(--faint); }
svg .cell { fill: var(--heat); } svg .none { fill: none; stroke: var(--rule); }
)";

std::vector<size_t> column_widths(const Grid& grid) {
  std::vector<size_t> widths;
  const auto widen = [&](const std::vector<std::string>& row) {
    widths.resize(std::max(widths.size(), row.size()), 1);
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  };
  widen(grid.header);
  for (const auto& row : grid.rows) widen(row);
  return widths;
}

// A cell cannot hold the column mark.
std::string cell_text(const std::string& text) {
  std::string cell = one_line(text);
  std::replace(cell.begin(), cell.end(), '|', '/');
  return cell;
}

std::string markdown_row(const std::vector<std::string>& row, const std::vector<size_t>& widths,
                         size_t prose_columns) {
  std::string line = "|";
  for (size_t i = 0; i < widths.size(); ++i) {
    const std::string cell = i < row.size() ? cell_text(row[i]) : "";
    const size_t width = display_width(cell);
    const bool left = i == 0 || i + prose_columns >= widths.size();
    const std::string padding(widths[i] > width ? widths[i] - width : 0, ' ');
    line.append(" ").append(left ? cell + padding : padding + cell).append(" |");
  }
  return line + "\n";
}

std::string html_row(const std::vector<std::string>& row, const char* tag, size_t first_prose) {
  std::string line = "<tr>";
  for (size_t i = 0; i < row.size(); ++i) {
    line += std::string("<") + tag + (i >= first_prose ? " class=\"prose\">" : ">") +
            escaped(row[i]) + "</" + tag + ">";
  }
  return line + "</tr>\n";
}

std::string to_html(const Grid& grid) {
  const size_t first_prose = grid.header.size() - std::min(grid.prose_columns, grid.header.size());
  std::string html = "<div class=\"wide\"><table>\n<thead>" +
                     html_row(grid.header, "th", first_prose) + "</thead>\n<tbody>\n";
  for (const auto& row : grid.rows) html += html_row(row, "td", first_prose);
  return html + "</tbody>\n</table></div>\n";
}

std::string paragraphs(const std::string& note) {
  std::string html;
  for (size_t start = 0; start < note.size();) {
    const size_t end = std::min(note.find('\n', start), note.size());
    if (end > start) html += "<p>" + escaped(note.substr(start, end - start)) + "</p>\n";
    start = end + 1;
  }
  return html;
}

std::string chapter_name(size_t section) { return "chapter-" + std::to_string(section); }

std::string to_html(const Section& section, size_t index) {
  std::string html;
  if (!section.heading.empty() && section.depth == 0) {
    html += "<h2 id=\"" + chapter_name(index) + "\">" + escaped(section.heading) + "</h2>\n";
  } else if (!section.heading.empty()) {
    html += "<h3>" + escaped(section.heading) + "</h3>\n";
  }
  html += paragraphs(section.note) + section.picture;
  if (!section.grid.empty()) html += to_html(section.grid);
  return html;
}

std::string contents_html(const std::vector<Section>& sections) {
  std::string html = "<ol>\n";
  for (size_t i = 0; i < sections.size(); ++i) {
    if (sections[i].depth > 0 || sections[i].heading.empty()) continue;
    html +=
        "<li><a href=\"#" + chapter_name(i) + "\">" + escaped(sections[i].heading) + "</a></li>\n";
  }
  return html + "</ol>\n";
}

}  // namespace

std::string to_markdown(const Grid& grid) {
  const std::vector<size_t> widths = column_widths(grid);
  std::string text = markdown_row(grid.header, widths, grid.prose_columns) + "|";
  for (size_t i = 0; i < widths.size(); ++i) {
    const std::string dashes(widths[i], '-');
    const bool left = i == 0 || i + grid.prose_columns >= widths.size();
    text += left ? " " + dashes + " |" : " " + dashes + ":|";
  }
  text += "\n";
  for (const auto& row : grid.rows) text += markdown_row(row, widths, grid.prose_columns);
  return text;
}

std::string to_text(const Page& page) {
  std::string text = "\n" + page.title + "\n";
  for (const std::string& fact : page.facts) text += fact + "\n";
  for (const Section& section : page.sections) {
    if (section.page_only) continue;
    if (!section.heading.empty()) text += "\n" + section.heading + "\n";
    if (!section.note.empty()) text += section.note + "\n";
    if (!section.grid.empty()) text += "\n" + to_markdown(section.grid);
  }
  return text;
}

std::string to_html(const Page& page) {
  std::string html = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  html += "<title>" + escaped(page.title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n";
  html += "<body>\n<h1>" + escaped(page.title) + "</h1>\n<ul class=\"facts\">\n";
  for (const std::string& fact : page.facts) html += "<li>" + escaped(fact) + "</li>\n";
  html += "</ul>\n";
  if (page.contents) html += contents_html(page.sections);
  for (size_t i = 0; i < page.sections.size(); ++i) html += to_html(page.sections[i], i);
  return html + "</body>\n</html>\n";
}

}  // namespace shadowattn::tool::eval
