#include "common/profile_choice.h"

#include <cstdio>
#include <filesystem>

#include "common/failure.h"
#include "common/model_identity.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace fs = std::filesystem;
namespace {

constexpr char kModelExtension[] = ".gguf";
constexpr char kProfileExtension[] = ".shadow.json";

/// Why the profile at `path` cannot be used for the model; "" when it can.
std::string problem_with(const std::string& path, const std::string& model) {
  if (std::string problem = profile_path_problem(path); !problem.empty()) return problem;
  const auto profile = load_profile(path);
  if (!profile.ok()) return profile.status().message();
  const std::string problem = profile_problem(profile.value().model, identify_model(model));
  return problem.empty() ? "" : path + ": " + problem;
}

}  // namespace

std::string profile_beside(const std::string& model) {
  fs::path path(model);
  if (path.extension() == kModelExtension) path.replace_extension();
  path += kProfileExtension;
  return path.string();
}

std::string profile_path_problem(const std::string& path) {
  // The plug-in's own parser decides what its one string can hold.
  const auto config = parse_config("profile=" + path);
  if (config.ok() && config.value().profile_path == path) return "";
  return path +
         ": the path cannot be given to the plug-in, which takes none with commas, control "
         "characters or spaces at its ends, and no very long ones; rename it";
}

std::string profile_problem(const ProfiledModel& profiled, const ProfiledModel& model) {
  if (profiled.architecture != model.architecture) {
    return "it was made for a model of the architecture " + one_line(profiled.architecture) +
           ", this one is " + one_line(model.architecture);
  }
  if (profiled.checksum == model.checksum && profiled.parameters == model.parameters) return "";
  return "it was made for other weights (" + one_line(profiled.checksum) + ", this model has " +
         model.checksum + "); make a new one with shadowattn profile";
}

void choose_profile(const std::string& choice, const std::string& model, Config& config) {
  if (!config.enabled || config.engine.mode == Mode::kDense || choice == "none") return;
  const bool automatic = choice == "auto";
  const std::string path = automatic ? profile_beside(model) : choice;
  std::error_code ignored;
  if (automatic && !fs::exists(path, ignored)) return;
  std::string problem;
  try {
    problem = problem_with(path, model);
  } catch (const Failure& failure) {
    problem = failure.what();
  }
  if (problem.empty()) {
    config.profile_path = path;
    return;
  }
  std::fprintf(stderr, "shadowattn: warning: the profile is not used: %s\n",
               one_line(problem).c_str());
}

}  // namespace shadowattn::tool
