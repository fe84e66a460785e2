// Which profile a model is run with.
#pragma once

#include <string>

#include "shadowattn/config.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool {

/// Where the profile of a model is looked for, and written: "model.gguf" -> "model.shadow.json".
std::string profile_beside(const std::string& model);

/// Why a profile cannot be named in the plug-in's config; "" when it can.
std::string profile_path_problem(const std::string& path);

/// Why a profile of one model must not be used with another; "" when it is its own.
std::string profile_problem(const ProfiledModel& profiled, const ProfiledModel& model);

/// Sets config.profile_path by --profile: "auto" (the file beside the model, if there is one),
/// "none" or a path. A profile that cannot be used is a warning on standard error, and none is set.
/// Nothing to do where attention is not sparse. A LlamaRuntime must exist (model_identity.h).
void choose_profile(const std::string& choice, const std::string& model, Config& config);

}  // namespace shadowattn::tool
