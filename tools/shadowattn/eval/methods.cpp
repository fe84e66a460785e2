#include "eval/methods.h"

#include <algorithm>

#include "eval/settings.h"

namespace shadowattn::tool::eval {
namespace {

struct NamedMode {
  const char* name;
  Mode mode;
};

constexpr NamedMode kModes[] = {
    {kReference, Mode::kDense}, {kFloor, Mode::kDense},           {"dense-fast", Mode::kDense},
    {"oracle", Mode::kOracle},  {"sparse-f32", Mode::kSparseF32}, {kHeadline, Mode::kShadow},
    {"block", Mode::kBlock},    {"window", Mode::kWindow},        {"npu-int8", Mode::kNpuInt8},
};

Method make_method(const NamedMode& mode, Config config) {
  config.enabled = mode.name != std::string(kFloor);
  config.engine.mode = mode.mode;
  if (mode.name == std::string(kReference)) config.engine.precision = Precision::kF32;
  // Questions and answers have few rows; the plug-in takes them too.
  config.min_rows = 1;
  return {mode.name, std::move(config)};
}

}  // namespace

const std::vector<std::string>& method_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const NamedMode& mode : kModes) all.emplace_back(mode.name);
    return all;
  }();
  return names;
}

std::string method_problem(const std::string& name) {
  const std::vector<std::string>& names = method_names();
  if (std::find(names.begin(), names.end(), name) != names.end()) return "";
  std::string known;
  for (const std::string& one : names) known.append(known.empty() ? "" : ", ").append(one);
  return "there is no baseline \"" + name + "\"; known: " + known;
}

std::vector<Method> make_methods(const std::vector<std::string>& baselines, const Config& config) {
  std::vector<Method> methods;
  for (const NamedMode& mode : kModes) {
    const std::string name = mode.name;
    const bool always = name == kReference || name == kHeadline;
    if (always || std::find(baselines.begin(), baselines.end(), name) != baselines.end()) {
      methods.push_back(make_method(mode, config));
    }
  }
  return methods;
}

Method shadow_at(const Config& config) {
  Method method = make_method({kHeadline, Mode::kShadow}, config);
  method.name += ", " + setting_text(setting_of(config.engine));
  return method;
}

bool keeps_all(const Method& method) {
  const Mode mode = method.config.engine.mode;
  return !method.config.enabled || mode == Mode::kDense || mode == Mode::kNpuInt8;
}

}  // namespace shadowattn::tool::eval
