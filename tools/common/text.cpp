#include "common/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace shadowattn::tool {
namespace {

enum class Utf8 { kValid, kInvalid, kCut };

struct Utf8Character {
  Utf8 state = Utf8::kInvalid;
  size_t length = 1;  // bytes to take
};

uint8_t byte_at(std::string_view bytes, size_t index) { return static_cast<uint8_t>(bytes[index]); }

// Length announced by a lead byte, and the bounds of the byte after it (Unicode, table 3-7):
// they rule out overlong forms, surrogates and what lies beyond U+10FFFF.
struct Lead {
  size_t length = 0;  // 0: not a lead byte
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

Lead classify(uint8_t byte) {
  if (byte < 0x80) return {.length = 1};
  if (byte < 0xC2) return {};
  if (byte < 0xE0) return {.length = 2};
  if (byte == 0xE0) return {.length = 3, .low = 0xA0};
  if (byte == 0xED) return {.length = 3, .high = 0x9F};
  if (byte < 0xF0) return {.length = 3};
  if (byte == 0xF0) return {.length = 4, .low = 0x90};
  if (byte < 0xF4) return {.length = 4};
  if (byte == 0xF4) return {.length = 4, .high = 0x8F};
  return {};
}

Utf8Character next_character(std::string_view bytes, size_t start) {
  const Lead lead = classify(byte_at(bytes, start));
  if (lead.length == 0) return {};
  for (size_t i = 1; i < lead.length; ++i) {
    if (start + i == bytes.size()) return {Utf8::kCut, i};
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    const uint8_t byte = byte_at(bytes, start + i);
    if (byte < low || byte > high) return {};
  }
  return {Utf8::kValid, lead.length};
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

RepairedText repair_utf8(std::string_view bytes) {
  RepairedText result;
  result.text.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Character character = next_character(bytes, i);
    if (character.state == Utf8::kValid) {
      result.text += bytes.substr(i, character.length);
      i += character.length;
    } else {
      result.text += kReplacementCharacter;
      ++result.replaced;
      ++i;
    }
  }
  return result;
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  size_t whole = 0;
  while (whole < pending_.size()) {
    const Utf8Character character = next_character(pending_, whole);
    if (character.state == Utf8::kCut) break;
    whole += character.length;
  }
  std::string ready = repair_utf8(std::string_view(pending_).substr(0, whole)).text;
  pending_.erase(0, whole);
  return ready;
}

std::string Utf8Stream::finish() {
  std::string rest = repair_utf8(pending_).text;
  pending_.clear();
  return rest;
}

std::string format_count(int64_t count) {
  std::string digits = std::to_string(count);
  const size_t first = count < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string format_fixed(double value, int decimals) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.*f", decimals, value);
  return buffer.data();
}

std::string format_rate(double per_second) {
  if (!std::isfinite(per_second)) return "-";
  if (per_second >= 100) return format_count(std::llround(per_second));
  return format_fixed(per_second, per_second >= 10 ? 1 : 2);
}

std::string format_seconds(double seconds) {
  if (seconds < 10) return format_fixed(seconds, 2) + " s";
  if (seconds < 100) return format_fixed(seconds, 1) + " s";
  const int64_t whole = std::llround(seconds);
  const std::string rest = std::to_string(whole % 60);
  return std::to_string(whole / 60) + " min " + (rest.size() < 2 ? "0" : "") + rest + " s";
}

std::string format_bytes(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1024.0 * 1024.0);
  return mib < 1024 ? format_fixed(mib, 0) + " MiB" : format_fixed(mib / 1024, 2) + " GiB";
}

std::string format_percent(double share) { return format_fixed(100 * share, 1) + " %"; }

size_t display_width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return result;
}

std::string one_line(std::string_view text) {
  std::string result;
  for (const char c : trim(text)) {
    if (!is_space(c)) {
      result += c;
    } else if (result.back() != ' ') {
      result += ' ';
    }
  }
  return result;
}

bool contains_word(std::string_view text, std::string_view word) {
  const std::string haystack = lower_case(text);
  const std::string needle = lower_case(word);
  for (size_t at = haystack.find(needle); at != std::string::npos;
       at = haystack.find(needle, at + 1)) {
    const size_t end = at + needle.size();
    const bool starts = at == 0 || !is_word_character(haystack[at - 1]);
    const bool ends = end == haystack.size() || !is_word_character(haystack[end]);
    if (starts && ends) return true;
  }
  return false;
}

}  // namespace shadowattn::tool
