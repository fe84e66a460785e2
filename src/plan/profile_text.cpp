// Profiles as JSON that people can read: what fits on a line stands on one.
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "shadowattn/profile.h"

namespace shadowattn {
namespace {

using nlohmann::ordered_json;

constexpr size_t kLineLength = 110;
constexpr size_t kIndent = 1;

/// The double whose shortest decimals are those of the float: 0.1, not 0.10000000149011612.
double same_decimals(float value) {
  std::array<char, 32> text{};
  const auto written = std::to_chars(text.data(), text.data() + text.size(), value);
  double number = value;
  std::from_chars(text.data(), written.ptr, number);
  return number;
}

ordered_json scales(const std::vector<float>& values) {
  ordered_json array = ordered_json::array();
  for (const float value : values) array.push_back(same_decimals(value));
  return array;
}

ordered_json lists(const ListShape& shape) {
  return {{"dense", shape.dense},
          {"rows_per_list", shape.rows_per_list},
          {"share_heads", shape.share_heads}};
}

ordered_json curve(const KeptCurve& measured) {
  return {{"lists", lists(measured.lists)},
          {"keys", measured.keys},
          {"nanoseconds", measured.nanoseconds},
          {"attn_error", measured.attn_error},
          {"kept", measured.kept}};
}

ordered_json kv_head(const KvHeadProfile& head) {
  ordered_json curves = ordered_json::array();
  for (const KeptCurve& measured : head.curves) curves.push_back(curve(measured));
  return {{"lists", lists(head.lists)}, {"curves", std::move(curves)}};
}

ordered_json layer(const LayerProfile& profile) {
  ordered_json heads = ordered_json::array();
  for (const HeadProfile& head : profile.heads) {
    heads.push_back({{"keep", head.keep}, {"importance", head.importance}});
  }
  ordered_json kv_heads = ordered_json::array();
  for (const KvHeadProfile& head : profile.kv_heads) kv_heads.push_back(kv_head(head));
  return {{"head_dim", profile.head_dim},
          {"importance", profile.importance},
          {"heads", std::move(heads)},
          {"kv_heads", std::move(kv_heads)},
          {"query_scales", scales(profile.query_scales)},
          {"key_scales", scales(profile.key_scales)}};
}

/// `column`: where the value starts on its line.
void write(const ordered_json& value, size_t depth, size_t column, std::string& text) {
  const std::string compact = value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  if (!value.is_structured() || value.empty() || column + compact.size() <= kLineLength) {
    text += compact;
    return;
  }
  const bool object = value.is_object();
  text += object ? '{' : '[';
  const char* separator = "\n";
  for (const auto& [key, entry] : value.items()) {
    text.append(separator).append((depth + 1) * kIndent, ' ');
    const std::string name = object ? ordered_json(key).dump() + ": " : "";
    text += name;
    write(entry, depth + 1, (depth + 1) * kIndent + name.size(), text);
    separator = ",\n";
  }
  text.append("\n").append(depth * kIndent, ' ');
  text += object ? '}' : ']';
}

}  // namespace

std::string to_json(const Profile& profile) {
  ordered_json layers = ordered_json::array();
  for (const LayerProfile& one : profile.layers) layers.push_back(layer(one));
  const ordered_json root = {{"format", "shadowattn-profile"},
                             {"version", Profile::kVersion},
                             {"note", profile.note},
                             {"model",
                              {{"architecture", profile.model.architecture},
                               {"checksum", profile.model.checksum},
                               {"parameters", profile.model.parameters}}},
                             {"attn_error", profile.attn_error},
                             {"layers", std::move(layers)}};
  std::string text;
  write(root, 0, 0, text);
  text += '\n';
  return text;
}

}  // namespace shadowattn
