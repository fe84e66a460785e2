// The ggml registry entry of the plug-in: one ACCEL device that claims FLASH_ATTN_EXT.
#pragma once

#include "ggml-backend.h"
#include "plugin_state.h"

namespace shadowattn::plugin {

/// The registry entry; always the same. `state` must live as long as the process.
ggml_backend_reg_t registry_of(PluginState& state);

}  // namespace shadowattn::plugin
