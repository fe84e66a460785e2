#include "profile/partial.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace shadowattn::tool {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "shadowattn-profile-part";
constexpr int kVersion = 1;

std::set<int> read_layers(const json& value, size_t layers) {
  std::set<int> done;
  for (const json& layer : value) {
    const int number = layer.get<int>();
    if (number >= 0 && static_cast<size_t>(number) < layers) done.insert(number);
  }
  return done;
}

std::map<std::string, double> read_losses(const json& value) {
  std::map<std::string, double> losses;
  for (const auto& [name, loss] : value.items()) {
    if (loss.is_number() && std::isfinite(loss.get<double>())) losses[name] = loss.get<double>();
  }
  return losses;
}

}  // namespace

std::string partial_json(const PartialProfile& partial) {
  // The profile stays text: its own reader checks it.
  const json root = {{"format", kFormat},        {"version", kVersion},
                     {"key", partial.key},       {"profile", to_json(partial.profile)},
                     {"layers", partial.layers}, {"losses", partial.losses}};
  return root.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<PartialProfile> parse_partial(std::string_view text, const std::string& key,
                                            size_t layers) {
  try {
    const json root = json::parse(text);
    if (root.at("format") != kFormat || root.at("version") != kVersion || root.at("key") != key) {
      return std::nullopt;
    }
    auto profile = parse_profile(root.at("profile").get<std::string>());
    if (!profile.ok() || profile.value().layers.size() != layers) return std::nullopt;
    return PartialProfile{key, std::move(profile).value(), read_layers(root.at("layers"), layers),
                          read_losses(root.at("losses"))};
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::string partial_path(const std::string& output) { return output + ".part"; }

std::optional<PartialProfile> load_partial(const std::string& path, const std::string& key,
                                           size_t layers) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return parse_partial(text.str(), key, layers);
}

}  // namespace shadowattn::tool
