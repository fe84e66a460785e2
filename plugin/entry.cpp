// The only exported symbol.
#include "device.h"
#include "ggml-backend-impl.h"
#include "plugin_state.h"

extern "C" __attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_init() {
  using namespace shadowattn::plugin;
  try {
    PluginState* state = shared_state(__builtin_return_address(0));
    return state == nullptr ? nullptr : registry_of(*state);
  } catch (...) {  // out of memory
    return nullptr;
  }
}
