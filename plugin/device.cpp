// The tables of C functions that ggml calls. Everything here is a border: no exception leaves it.
#include "device.h"

#include <cstring>
#include <new>
#include <string>

#include "backend.h"
#include "control.h"
#include "control_functions.h"
#include "flash_attn.h"
#include "ggml-backend-impl.h"
#include "node_facts.h"

namespace shadowattn::plugin {
namespace {

PluginState& state_of(ggml_backend_dev_t device) {
  return *static_cast<PluginState*>(device->context);
}

/// What ggml's context pointer of a backend points to.
struct BackendContext {
  explicit BackendContext(PluginState& plugin_state) : state(plugin_state), backend(plugin_state) {}

  PluginState& state;
  Backend backend;
};

BackendContext& context_of(ggml_backend_t backend) {
  return *static_cast<BackendContext*>(backend->context);
}

// --- Backend ---

const char* backend_get_name(ggml_backend_t) { return kRegName; }

void backend_free(ggml_backend_t backend) {
  try {
    context_of(backend).state.write_files();
  } catch (...) {  // out of memory: no report
  }
  delete &context_of(backend);
  delete backend;
}

ggml_status backend_graph_compute(ggml_backend_t backend, ggml_cgraph* graph) {
  try {
    return context_of(backend).backend.compute(graph);
  } catch (const std::bad_alloc&) {
    return GGML_STATUS_ALLOC_FAILED;
  } catch (...) {
    return GGML_STATUS_FAILED;
  }
}

void backend_set_n_threads(ggml_backend_t backend, int threads) {
  context_of(backend).backend.set_host_threads(threads);
}

ggml_guid_t backend_guid() {
  static ggml_guid guid = {0x5a, 0xd0, 0x3a, 0x77, 0x91, 0x1c, 0x4f, 0x0e,
                           0x8b, 0x2d, 0xc4, 0x66, 0x1e, 0x9f, 0x35, 0xb8};
  return &guid;
}

ggml_backend_i backend_functions() {
  ggml_backend_i functions{};  // all optional ones null: synchronous, no events
  functions.get_name = backend_get_name;
  functions.free = backend_free;
  functions.graph_compute = backend_graph_compute;
  return functions;
}

// --- Device ---

const char* device_get_name(ggml_backend_dev_t) { return kRegName; }

const char* device_get_description(ggml_backend_dev_t device) {
  return state_of(device).settings()->description;
}

void device_get_memory(ggml_backend_dev_t, size_t* free, size_t* total) {
  *free = 0;  // none of its own
  *total = 0;
}

enum ggml_backend_dev_type device_get_type(ggml_backend_dev_t) {
  return GGML_BACKEND_DEVICE_TYPE_ACCEL;
}

void device_get_props(ggml_backend_dev_t device, ggml_backend_dev_props* props) {
  *props = {};
  props->name = device_get_name(device);
  props->description = device_get_description(device);
  props->type = device_get_type(device);
  props->caps.buffer_from_host_ptr = true;
  props->caps.mmap_support = true;
}

ggml_backend_t device_init_backend(ggml_backend_dev_t device, const char*) {
  try {
    auto context = std::make_unique<BackendContext>(state_of(device));
    return new ggml_backend{backend_guid(), backend_functions(), device, context.release()};
  } catch (...) {
    return nullptr;
  }
}

// The CPU's own type: only then does ggml's scheduler move attention nodes from the CPU to us.
ggml_backend_buffer_type_t device_get_buffer_type(ggml_backend_dev_t device) {
  return state_of(device).host().cpu_buffer_type();
}

ggml_backend_buffer_t device_buffer_from_host_ptr(ggml_backend_dev_t device, void* data,
                                                  size_t size, size_t) {
  return state_of(device).host().cpu_buffer_from_ptr(data, size);
}

/// Few rows are taken once a prompt was computed with their cache: before that they may be of
/// llama.cpp's trial graph, which would switch its flash attention off if we took it. A handful of
/// keys is attended to faster than a graph changes hands.
ClaimRule claim_rule(const PluginState& state, const Config& config, const ggml_tensor* node) {
  constexpr int64_t kKeysThatPay = 1024;
  if (config.min_rows > 0) return {config.min_rows, 0};
  return {state.knows_cache(cache_of(node)) ? 1 : kFewRows, kKeysThatPay};
}

bool claims_flash_attn(PluginState& state, const ggml_tensor* node) {
  const std::shared_ptr<const Settings> settings = state.settings();
  if (!settings->config.enabled) return false;
  const ClaimRule rule = claim_rule(state, settings->config, node);
  const std::string reason = decline_reason(state.host(), node, rule);
  if (reason.empty()) return true;
  state.report().add_decline(layer_of(node), reason);
  return false;
}

bool device_supports_op(ggml_backend_dev_t device, const ggml_tensor* node) {
  switch (node->op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
      return true;
    case GGML_OP_FLASH_ATTN_EXT:
      try {
        return claims_flash_attn(state_of(device), node);
      } catch (...) {
        return false;
      }
    default:
      return false;
  }
}

bool device_supports_buft(ggml_backend_dev_t device, ggml_backend_buffer_type_t type) {
  return state_of(device).host().buft_is_host(type);
}

ggml_backend_device_i device_functions() {
  ggml_backend_device_i functions{};
  functions.get_name = device_get_name;
  functions.get_description = device_get_description;
  functions.get_memory = device_get_memory;
  functions.get_type = device_get_type;
  functions.get_props = device_get_props;
  functions.init_backend = device_init_backend;
  functions.get_buffer_type = device_get_buffer_type;
  functions.buffer_from_host_ptr = device_buffer_from_host_ptr;
  functions.supports_op = device_supports_op;
  functions.supports_buft = device_supports_buft;
  return functions;
}

// --- Registry ---

const char* reg_get_name(ggml_backend_reg_t) { return kRegName; }

size_t reg_get_device_count(ggml_backend_reg_t) { return 1; }

ggml_backend_dev_t reg_get_device(ggml_backend_reg_t reg, size_t) {
  static ggml_backend_device device = {device_functions(), reg, reg->context};
  return &device;
}

void* reg_get_proc_address(ggml_backend_reg_t, const char* name) {
  if (std::strcmp(name, "ggml_backend_set_n_threads") == 0) {
    return reinterpret_cast<void*>(backend_set_n_threads);
  }
  return control_function(name);
}

}  // namespace

ggml_backend_reg_t registry_of(PluginState& state) {
  static ggml_backend_reg reg = {
      GGML_BACKEND_API_VERSION,
      {reg_get_name, reg_get_device_count, reg_get_device, reg_get_proc_address},
      &state};
  return &reg;
}

}  // namespace shadowattn::plugin
