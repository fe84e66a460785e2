#include "simulate/soc_model.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "common/failure.h"

namespace shadowattn::tool::simulate {
namespace {

using nlohmann::json;

/// Of a file that parse_soc has found to be in order.
std::vector<SourcedFigure> figures_of(const json& root) {
  std::vector<SourcedFigure> figures;
  for (const char* group : {"limits", "times", "prefill"}) {
    for (const auto& [name, figure] : root.at(group).items()) {
      figures.push_back({group, name, figure.at("value").get<double>(),
                         figure.at("unit").get<std::string>(),
                         figure.at("source").get<std::string>()});
    }
  }
  return figures;
}

}  // namespace

Origin SourcedFigure::origin() const {
  for (const Origin origin : {Origin::kFitted, Origin::kAssumed}) {
    if (source.rfind(origin_name(origin), 0) == 0) return origin;
  }
  return Origin::kPublished;
}

SocModel parse_soc_model(const std::string& text, const std::string& origin) {
  const Result<SocDescription> soc = parse_soc(text, origin);
  if (!soc.ok()) throw Failure(soc.status().message());
  if (!soc.value().prefill.has_value()) {
    throw Failure(
        origin +
        " has no section \"prefill\", so no prompt can be predicted from it; soc/README.md "
        "says what belongs there");
  }
  const json root = json::parse(text);
  return {root.at("name").get<std::string>(), soc.value().capabilities, soc.value().latency,
          *soc.value().prefill, figures_of(root)};
}

SocModel load_soc_model(const std::string& path) {
  // Not a pipe or a device, which could be endless.
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw Failure(path + " is no regular file; give a SoC file, such as soc/snapdragon-8gen3.json");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Failure("cannot open " + path);
  std::string text(kLargestSocFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) throw Failure("cannot read " + path);
  return parse_soc_model(text, path);
}

std::string origin_name(Origin origin) {
  switch (origin) {
    case Origin::kFitted:
      return "fitted";
    case Origin::kAssumed:
      return "assumed";
    case Origin::kPublished:
      break;
  }
  return "published";
}

}  // namespace shadowattn::tool::simulate
