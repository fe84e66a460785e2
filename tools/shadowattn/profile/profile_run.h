// Making a profile: what is measured, in which order, and what is kept of it on the way.
#pragma once

#include <string>
#include <vector>

#include "common/llama_session.h"
#include "common/plugin_control.h"
#include "profile/partial.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool {

struct ProfileSettings {
  std::string part;  ///< file for partial results
  double attn_error = 0.01;
  bool importance = false;  ///< also measure the loss without each head and each layer
  double budget = 0;        ///< average share of tokens; 0: no shares, every head may keep all
  int loss_tokens = 512;
  int threads = 1;
};

/// Measures a model on `tokens`: lists on its last up to 512 rows. Saves what is done in
/// settings.part, takes over what is there already, and leaves the file in place. Throws Failure.
Profile measure_profile(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                        const ProfiledModel& identity, const std::vector<llama_token>& tokens,
                        const ProfileSettings& settings);

}  // namespace shadowattn::tool
