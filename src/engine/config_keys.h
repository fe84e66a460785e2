// The keys of the configuration string, for engine/config.cpp.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "shadowattn/config.h"

namespace shadowattn {

/// Everything known about one key. Parsing, printing and the help text share it.
struct ConfigKey {
  std::string_view name;
  std::string_view allowed;  ///< in words
  std::string_view meaning;
  bool (*set)(std::string_view text, Config& config);  ///< false: a bad value
  std::string (*get)(const Config& config);            ///< empty: nothing to write
};

/// The keys that concern the pilot's device.
std::span<const ConfigKey> device_config_keys();

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <typename Number>
std::string format_number(Number number) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), number);
  return error == std::errc() ? std::string(text, end) : std::string();
}

bool set_int(std::string_view text, int32_t low, int32_t high, int32_t& field);
bool set_bool(std::string_view text, bool& field);
/// In [0, 1].
bool set_share(std::string_view text, double& field);
inline std::string yes_or_no(bool value) { return value ? "yes" : "no"; }

}  // namespace shadowattn
