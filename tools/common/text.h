// Small text helpers: UTF-8 that may be broken or cut, and figures for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shadowattn::tool {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// Text in which every byte that is not part of valid UTF-8 became U+FFFD.
struct RepairedText {
  std::string text;
  int64_t replaced = 0;  ///< bytes
};
RepairedText repair_utf8(std::string_view bytes);

/// Tokens may end in the middle of a character: holds such bytes back until the rest arrives.
class Utf8Stream {
 public:
  /// Adds bytes and returns the whole characters that can be shown now.
  std::string push(std::string_view bytes);
  /// What was held back, repaired; for the end of the text.
  std::string finish();

 private:
  std::string pending_;
};

std::string format_count(int64_t count);  ///< 8192 -> "8,192"
std::string format_fixed(double value, int decimals);
std::string format_rate(double per_second);  ///< "1,234", "56.7", "0.42"
std::string format_seconds(double seconds);  ///< "0.42 s", "12.3 s", "3 min 05 s"
std::string format_bytes(int64_t bytes);     ///< "45 MiB", "1.2 GiB"
std::string format_percent(double share);    ///< 0.2314 -> "23.1 %"

/// Characters, not bytes; good enough for the scripts that models mostly answer in.
size_t display_width(std::string_view text);

std::string trim(std::string_view text);
std::string lower_case(std::string_view text);  ///< ASCII letters only
/// The text on one line: runs of white space become one blank.
std::string one_line(std::string_view text);
/// True when `word` occurs in `text` with no letter or digit next to it. Case does not matter.
bool contains_word(std::string_view text, std::string_view word);

}  // namespace shadowattn::tool
