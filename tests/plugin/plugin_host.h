// A host for the plug-in: this test program, with llama.cpp's own CPU backend beside it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "ggml-backend.h"

namespace shadowattn::plugin_test {

/// The plug-in's registry entry; loads the backends on the first call. Throws when that fails.
ggml_backend_reg_t plugin();

/// shadowattn_configure; throws on a bad config.
void configure(const std::string& config);

/// shadowattn_configure's message for a config that it refuses; empty when it takes it.
std::string configure_error(const std::string& config);

nlohmann::json report();
nlohmann::json take_trace();
void reset_report();

}  // namespace shadowattn::plugin_test
