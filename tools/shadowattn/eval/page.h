// What an evaluation shows, once as text and once as a web page.
#pragma once

#include <string>
#include <vector>

namespace shadowattn::tool::eval {

/// A table of texts. Columns after the first are aligned to the right.
struct Grid {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  /// So many columns at the end hold sentences: aligned to the left, broken into lines on a page.
  size_t prose_columns = 0;

  bool empty() const { return rows.empty(); }
};

/// Markdown, with columns padded to one width.
std::string to_markdown(const Grid& grid);

struct Section {
  std::string heading;
  std::string note;       ///< what the figures are; may be empty; a paragraph per line
  Grid grid{};            ///< may be empty
  std::string picture{};  ///< SVG of plots.h, for the page only; may be empty
  bool page_only = false;
  int depth = 0;  ///< 0: a chapter, 1: a part of the one before
};

struct Page {
  std::string title;
  std::vector<std::string> facts;  ///< one line each: model, text, settings
  std::vector<Section> sections;
  bool contents = false;  ///< a page begins with links to its chapters
};

/// For a terminal; sections of the page only are left out.
std::string to_text(const Page& page);

/// One self-contained HTML page without scripts, for light and dark screens. Texts may hold any
/// characters.
std::string to_html(const Page& page);

}  // namespace shadowattn::tool::eval
