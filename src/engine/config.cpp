#include "shadowattn/config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/config_keys.h"
#include "shadowattn/cpu.h"

namespace shadowattn {
namespace {

constexpr size_t kMaxText = 4096;
constexpr size_t kMaxQuoted = 60;
constexpr int32_t kMaxTokens = 1 << 30;
constexpr int32_t kMaxThreads = 1024;
constexpr int32_t kMaxRowsPerList = 64;

bool set_keep(std::string_view text, Config& config) {
  const auto number = parse_number<double>(text);
  if (!number || !(*number > 0.0 && *number <= 1.0)) return false;  // also refuses NaN
  config.engine.keep = *number;
  config.engine.output_error = 0.0;
  return true;
}

bool set_output_error(std::string_view text, Config& config) {
  const auto number = parse_number<double>(text);
  if (!number || !(*number >= 0.0 && *number < 1.0)) return false;
  config.engine.output_error = *number;
  return true;
}

bool set_attn_error(std::string_view text, Config& config) {
  const auto number = parse_number<double>(text);
  if (!number || !(*number >= 0.0 && *number < 1.0)) return false;
  config.engine.attn_error = *number;
  config.engine.output_error = 0.0;
  return true;
}

/// "3:1" or "3:*".
bool set_ablation(std::string_view text, Config& config) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  Ablation ablation;
  if (!set_int(text.substr(0, colon), 0, kMaxTokens, ablation.layer)) return false;
  const std::string_view head = text.substr(colon + 1);
  if (head != "*" && !set_int(head, 0, kMaxTokens, ablation.head)) return false;
  config.ablate = ablation;
  return true;
}

std::string format_ablation(const Config& config) {
  if (config.ablate.layer < 0) return "";
  const std::string head = config.ablate.head < 0 ? "*" : std::to_string(config.ablate.head);
  return std::to_string(config.ablate.layer) + ":" + head;
}

constexpr std::pair<std::string_view, Mode> kModes[] = {
    {"shadow", Mode::kShadow}, {"dense", Mode::kDense},      {"sparse-f32", Mode::kSparseF32},
    {"block", Mode::kBlock},   {"npu-int8", Mode::kNpuInt8}, {"window", Mode::kWindow},
    {"oracle", Mode::kOracle},
};

bool set_mode(std::string_view text, Config& config) {
  config.enabled = text != "off";
  if (text == "off") return true;
  for (const auto& [name, mode] : kModes) {
    if (name != text) continue;
    config.engine.mode = mode;
    return true;
  }
  return false;
}

bool set_isa(std::string_view text, Config& config) {
  for (const IsaLevel& level : isa_levels()) {
    if (level.name == text) {
      config.engine.isa = text;
      return true;
    }
  }
  return false;
}

std::string format_mode(const Config& config) {
  if (!config.enabled) return "off";
  for (const auto& [name, mode] : kModes) {
    if (mode == config.engine.mode) return std::string(name);
  }
  return "";
}

constexpr ConfigKey kKeys[] = {
    {"mode", "shadow, dense, off; to compare: sparse-f32, block, npu-int8, window, oracle",
     "sparse attention; exact attention by our kernels; everything left to the host", set_mode,
     format_mode},
    {"attn_error", "0 up to but not 1",
     "share of softmax mass that a query may lose; 0: lists keep what keep says; sets output_error "
     "to 0, as keep does",
     set_attn_error, [](const Config& c) { return format_number(c.engine.attn_error); }},
    {"keep", "a number above 0 and at most 1",
     "share of the visible tokens that a list keeps at most", set_keep,
     [](const Config& c) { return format_number(c.engine.keep); }},
    {"output_error", "0 up to but not 1",
     "relative error that a layer's output may have; 0: lists by attn_error and keep",
     set_output_error, [](const Config& c) { return format_number(c.engine.output_error); }},
    {"floor", "0 ... 1073741824", "a list keeps at least so many tokens",
     [](std::string_view t, Config& c) { return set_int(t, 0, kMaxTokens, c.engine.keep_floor); },
     [](const Config& c) { return std::to_string(c.engine.keep_floor); }},
    {"sink", "0 ... 1073741824", "first visible tokens that are always kept",
     [](std::string_view t, Config& c) { return set_int(t, 0, kMaxTokens, c.engine.sink); },
     [](const Config& c) { return std::to_string(c.engine.sink); }},
    {"recent", "0 ... 1073741824", "last visible tokens that are always kept",
     [](std::string_view t, Config& c) { return set_int(t, 0, kMaxTokens, c.engine.recent); },
     [](const Config& c) { return std::to_string(c.engine.recent); }},
    {"rows", "1 ... 64", "neighbouring query rows that share one token list",
     [](std::string_view t, Config& c) {
       return set_int(t, 1, kMaxRowsPerList, c.engine.rows_per_list);
     },
     [](const Config& c) { return std::to_string(c.engine.rows_per_list); }},
    {"share_heads", "yes or no", "the query heads of one KV head share the list too",
     [](std::string_view t, Config& c) { return set_bool(t, c.engine.share_heads); },
     [](const Config& c) { return yes_or_no(c.engine.share_heads); }},
    {"pilot_step", "1 ... 64", "of the rows that share a list the pilot scores every n-th",
     [](std::string_view t, Config& c) {
       return set_int(t, 1, kMaxRowsPerList, c.engine.pilot_step);
     },
     [](const Config& c) { return std::to_string(c.engine.pilot_step); }},
    {"precision", "fast or f32",
     "16-bit operands of exact attention where the processor is fast at them, or f32",
     [](std::string_view t, Config& c) {
       c.engine.precision = t == "f32" ? Precision::kF32 : Precision::kFast;
       return t == "f32" || t == "fast";
     },
     [](const Config& c) {
       return std::string(c.engine.precision == Precision::kF32 ? "f32" : "fast");
     }},
    {"gate", "auto or off",
     "dense attention where it is predicted to be faster; off: always sparse",
     [](std::string_view t, Config& c) {
       c.engine.gate = t == "auto";
       return t == "auto" || t == "off";
     },
     [](const Config& c) { return std::string(c.engine.gate ? "auto" : "off"); }},
    {"sample", "0 ... 1073741824",
     "one of so many rows and heads is compared with exact attention for the report; 0: none",
     [](std::string_view t, Config& c) { return set_int(t, 0, kMaxTokens, c.engine.sample_every); },
     [](const Config& c) { return std::to_string(c.engine.sample_every); }},
    {"profile", "a file name without a comma",
     "what `shadowattn profile` measured of the model; none: no profile",
     [](std::string_view t, Config& c) {
       c.profile_path = t;
       return true;
     },
     [](const Config& c) { return c.profile_path; }},
    {"ablate", "LAYER:HEAD or LAYER:*",
     "for profiling: these query heads' attention becomes zero; none: no head's", set_ablation,
     format_ablation},
    {"threads", "0 ... 1024", "threads to use; 0: as many as the host asks for",
     [](std::string_view t, Config& c) { return set_int(t, 0, kMaxThreads, c.threads); },
     [](const Config& c) { return std::to_string(c.threads); }},
    {"min_rows", "0 ... 1073741824",
     "calls with fewer query rows are left to the host; 0: decided by the plug-in",
     [](std::string_view t, Config& c) { return set_int(t, 0, kMaxTokens, c.min_rows); },
     [](const Config& c) { return std::to_string(c.min_rows); }},
    {"report", "a file name without a comma", "file for the JSON report; none: no report",
     [](std::string_view t, Config& c) {
       c.report_path = t;
       return true;
     },
     [](const Config& c) { return c.report_path; }},
    {"trace", "a file name without a comma", "file for a timeline of all calls; none: no timeline",
     [](std::string_view t, Config& c) {
       c.trace_path = t;
       return true;
     },
     [](const Config& c) { return c.trace_path; }},
    {"isa", "", "instruction set to use; none: the best of this machine", set_isa,
     [](const Config& c) { return c.engine.isa; }},
};

std::vector<const ConfigKey*> all_keys() {
  std::vector<const ConfigKey*> keys;
  for (const ConfigKey& key : kKeys) keys.push_back(&key);
  for (const ConfigKey& key : device_config_keys()) keys.push_back(&key);
  return keys;
}

/// The keys that users need; the others are for experiments and devices (docs/expert-keys.md).
constexpr std::string_view kUserKeys[] = {"mode",    "output_error", "attn_error", "threads",
                                          "profile", "report",       "trace",      "device"};

bool for_users(const ConfigKey& key) {
  return std::find(std::begin(kUserKeys), std::end(kUserKeys), key.name) != std::end(kUserKeys);
}

std::string allowed_values(const ConfigKey& key) {
  if (!key.allowed.empty()) return std::string(key.allowed);
  std::string names;
  for (const IsaLevel& level : isa_levels()) {
    names.append(names.empty() ? "" : ", ").append(level.name);
  }
  return names;
}

const ConfigKey* find_key(std::string_view name) {
  for (const ConfigKey* key : all_keys()) {
    if (key->name == name) return key;
  }
  return nullptr;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

/// For messages: one short line whatever the user typed.
std::string quote(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text.substr(0, kMaxQuoted)) {
    quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return quoted + (text.size() > kMaxQuoted ? "...\"" : "\"");
}

bool has_control_character(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return true;
  }
  return false;
}

/// Insertions, deletions and replacements from one text to the other.
size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < from.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < to.size(); ++j) {
      const size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

/// "; did you mean \"keep\"", or nothing.
std::string did_you_mean(std::string_view name) {
  constexpr size_t kLongest = 20;  // of what could be a typing error
  if (name.size() > kLongest) return "";
  const std::vector<const ConfigKey*> keys = all_keys();
  const auto distance = [&](const ConfigKey* key) { return edit_distance(name, key->name); };
  const ConfigKey* closest = *std::min_element(
      keys.begin(), keys.end(),
      [&](const ConfigKey* a, const ConfigKey* b) { return distance(a) < distance(b); });
  if (distance(closest) > 2) return "";
  return "; did you mean \"" + std::string(closest->name) + "\"";
}

Status unknown_key(std::string_view name) {
  std::string message = "unknown key " + quote(name) + did_you_mean(name) + "; known keys:";
  const char* separator = " ";
  for (const ConfigKey* key : all_keys()) {
    if (!for_users(*key)) continue;
    message.append(separator).append(key->name);
    separator = ", ";
  }
  return Status::invalid_argument(message + " and those of docs/expert-keys.md");
}

Status parse_item(std::string_view item, Config& config) {
  const size_t equals = item.find('=');
  if (equals == std::string_view::npos) {
    return Status::invalid_argument("expected key=value, found " + quote(item));
  }
  const std::string_view name = trim(item.substr(0, equals));
  const std::string_view value = trim(item.substr(equals + 1));
  const ConfigKey* key = find_key(name);
  if (key == nullptr) return unknown_key(name);
  const std::string hint = "; allowed: " + allowed_values(*key);
  if (value.empty()) {
    return Status::invalid_argument("no value for key \"" + std::string(name) + "\"" + hint);
  }
  if (has_control_character(value) || !key->set(value, config)) {
    return Status::invalid_argument("bad value " + quote(value) + " for key \"" +
                                    std::string(name) + "\"" + hint);
  }
  return {};
}

}  // namespace

bool set_int(std::string_view text, int32_t low, int32_t high, int32_t& field) {
  const auto number = parse_number<int32_t>(text);
  if (!number || *number < low || *number > high) return false;
  field = *number;
  return true;
}

bool set_bool(std::string_view text, bool& field) {
  const bool yes = text == "yes" || text == "true" || text == "on" || text == "1";
  const bool no = text == "no" || text == "false" || text == "off" || text == "0";
  if (!yes && !no) return false;
  field = yes;
  return true;
}

bool set_share(std::string_view text, double& field) {
  const auto number = parse_number<double>(text);
  if (!number || !(*number >= 0.0 && *number <= 1.0)) return false;  // also refuses NaN
  field = *number;
  return true;
}

Result<Config> parse_config(std::string_view text) {
  if (text.size() > kMaxText) {
    return Status::invalid_argument("the config has " + std::to_string(text.size()) +
                                    " bytes; at most " + std::to_string(kMaxText) + " are allowed");
  }
  Config config;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view item = trim(text.substr(0, comma));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    if (item.empty()) continue;  // a trailing or doubled comma does no harm
    if (Status status = parse_item(item, config); !status.ok()) return status;
  }
  return config;
}

std::vector<ConfigValue> config_values(const Config& config) {
  std::vector<ConfigValue> values;
  for (const ConfigKey* key : all_keys()) {
    values.push_back({std::string(key->name), key->get(config)});
  }
  return values;
}

std::string to_string(const Config& config) {
  std::string text;
  for (const auto& [key, value] : config_values(config)) {
    if (value.empty()) continue;
    if (!text.empty()) text += ',';
    text.append(key).append("=").append(value);
  }
  return text;
}

std::string config_help() {
  constexpr size_t kNameWidth = 16;
  constexpr size_t kDefaultWidth = 10;
  const Config defaults;
  std::string users;
  std::string experts;
  for (const ConfigKey* key : all_keys()) {
    std::string line(key->name);
    line.resize(kNameWidth, ' ');
    const std::string value = key->get(defaults);
    line += value.empty() ? "none" : value;
    line.resize(kNameWidth + kDefaultWidth, ' ');
    line.append(key->meaning).append(" (").append(allowed_values(*key)).append(")\n");
    (for_users(*key) ? users : experts) += line;
  }
  return users + "Expert keys:\n" + experts;
}

}  // namespace shadowattn
