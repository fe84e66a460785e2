// The pieces that pictures are made of, as SVG text. Coordinates in pixels.
#pragma once

#include <string>
#include <vector>

namespace shadowattn::tool::svg {

inline constexpr double kLetter = 7.2;  ///< mean width of a letter of text_at

/// Text that cannot break the XML, on one line.
std::string escaped(const std::string& text);

/// A coordinate.
std::string px(double value);

/// `anchor`: start, middle or end. `more`: further attributes, with a blank before each.
std::string text_at(double x, double y, const std::string& anchor, const std::string& text,
                    const std::string& more = "");

std::string line_between(double x1, double y1, double x2, double y2, const std::string& style);

/// Marks of an axis from 0 that reaches `highest`: a step of 1, 2 or 5 times a power of ten, at
/// most `most` + 1 marks, the last at or above `highest`.
std::vector<double> axis_marks(double highest, int most);

/// A whole picture on a white ground.
std::string document(double width, double height, const std::string& title,
                     const std::string& body);

}  // namespace shadowattn::tool::svg
