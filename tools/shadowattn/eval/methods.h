// The ways to attend that an evaluation compares, each a configuration of the plug-in.
#pragma once

#include <string>
#include <vector>

#include "shadowattn/config.h"

namespace shadowattn::tool::eval {

inline constexpr char kReference[] = "dense";  ///< what every other method is compared with
inline constexpr char kHeadline[] = "shadow";
inline constexpr char kFloor[] = "llama.cpp";  ///< differs from the reference by rounding alone

struct Method {
  std::string name;  ///< as --baseline and reports spell it
  Config config;
};

/// All names that --baseline takes, the best expected first.
const std::vector<std::string>& method_names();

/// What is wrong with a name of --baseline; "" when nothing is.
std::string method_problem(const std::string& name);

/// The reference, the headline and what is named in `baselines`, each once, in the order of
/// method_names. `config` holds the settings for all of them. The reference is our exact attention
/// with f32 operands whatever `config` says, so that what 16-bit operands cost is counted too;
/// dense-fast is the same as `config` says.
std::vector<Method> make_methods(const std::vector<std::string>& baselines, const Config& config);

/// The headline's method at another setting, and named after it: "shadow, attn_error 0.05".
Method shadow_at(const Config& config);

/// True for methods that attend to every token.
bool keeps_all(const Method& method);

}  // namespace shadowattn::tool::eval
