#include "eval/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>

#include "common/failure.h"
#include "common/text.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool::eval {
namespace {

constexpr int32_t kMostRows = 64;  // of EngineOptions::rows_per_list
constexpr char kGroup[] = "group";

// As few digits as tell the number.
std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return text;
}

std::optional<Granularity> read_granularity(const std::string& text) {
  const size_t cross = text.find('x');
  if (cross == std::string::npos) return std::nullopt;
  const std::string heads = text.substr(cross + 1);
  if (heads != "1" && heads != kGroup) return std::nullopt;
  Granularity result;
  const char* end = text.data() + cross;
  const auto [stop, error] = std::from_chars(text.data(), end, result.rows);
  if (error != std::errc() || stop != end) return std::nullopt;
  if (result.rows < 1 || result.rows > kMostRows) return std::nullopt;
  result.share_heads = heads == kGroup;
  return result;
}

}  // namespace

std::vector<Setting> separate_settings(std::span<const double> output_errors,
                                       std::span<const double> attn_errors,
                                       std::span<const double> keeps) {
  std::vector<Setting> settings;
  const auto add = [&](const Setting& setting) {
    const bool known = std::find(settings.begin(), settings.end(), setting) != settings.end();
    if (!known) settings.push_back(setting);
  };
  for (const double error : output_errors) add({.output_error = error});
  for (const double error : attn_errors) add({.attn_error = error});
  for (const double keep : keeps) add({.keep = keep});
  return settings;
}

Setting setting_of(const EngineOptions& options) {
  return {options.output_error, options.attn_error, options.keep};
}

EngineOptions options_at(EngineOptions options, const Setting& setting, bool short_lists) {
  options.output_error = setting.output_error;
  if (setting.output_error > 0) return options;  // the rest stays for calls that it cannot take
  options.attn_error = setting.attn_error;
  options.keep = setting.keep;
  if (setting.keep < 1 && setting.attn_error == 0 && short_lists) options.keep_floor = 1;
  return options;
}

std::string setting_text(const Setting& setting) {
  if (setting.output_error > 0) return "output_error " + short_number(setting.output_error);
  if (setting.attn_error == 0) return "keep " + short_number(setting.keep);
  const std::string text = "attn_error " + short_number(setting.attn_error);
  return setting.keep < 1 ? text + ", keep at most " + short_number(setting.keep) : text;
}

std::string granularity_problem(const std::string& text) {
  if (read_granularity(text)) return "";
  return "ROWSx1 (each query head has its own lists) or ROWSxgroup (the heads of a KV head share "
         "them) is expected, with ROWS from 1 to 64, found " +
         one_line(text);
}

Granularity parse_granularity(const std::string& text) {
  const std::optional<Granularity> granularity = read_granularity(text);
  if (!granularity) throw Failure(granularity_problem(text), kExitUsage);
  return *granularity;
}

std::string granularity_text(const Granularity& granularity) {
  return std::to_string(granularity.rows) + "x" + (granularity.share_heads ? kGroup : "1");
}

Granularity granularity_of(const EngineOptions& options) {
  return {options.rows_per_list, options.share_heads};
}

EngineOptions options_at(EngineOptions options, const Granularity& granularity) {
  options.rows_per_list = granularity.rows;
  options.share_heads = granularity.share_heads;
  if (options.profile == nullptr) return options;
  Profile profile = *options.profile;
  for (LayerProfile& layer : profile.layers) {
    for (KvHeadProfile& head : layer.kv_heads) {
      head.lists.rows_per_list = granularity.rows;
      head.lists.share_heads = granularity.share_heads;
    }
  }
  options.profile = std::make_shared<const Profile>(std::move(profile));
  return options;
}

}  // namespace shadowattn::tool::eval
