// The few functions of ggml that the plug-in calls, looked up in the process that loads it.
//
// Hosts name their libggml-base differently (libggml-base.so.0, libggml-base.so, …), so the plug-in
// links to none of them. What it knows of ggml beyond these functions is struct layouts, hence the
// version check.
#pragma once

#include <string>

#include "ggml-backend.h"
#include "ggml.h"
#include "shadowattn/status.h"

namespace shadowattn::plugin {

struct HostGgml {
  decltype(&ggml_version) version = nullptr;
  decltype(&ggml_type_name) type_name = nullptr;
  decltype(&ggml_graph_n_nodes) graph_n_nodes = nullptr;
  decltype(&ggml_graph_node) graph_node = nullptr;
  decltype(&ggml_backend_buft_is_host) buft_is_host = nullptr;
  decltype(&ggml_backend_cpu_buffer_type) cpu_buffer_type = nullptr;
  decltype(&ggml_backend_cpu_buffer_from_ptr) cpu_buffer_from_ptr = nullptr;
  /// ggml_log_internal: calls the log callback that the host has set. Null where ggml exports none.
  void (*log)(ggml_log_level level, const char* format, ...) = nullptr;
};

/// One line, "shadowattn: <message>": by the host's log callback, or on stderr where there is none.
void say(const HostGgml& host, ggml_log_level level, const std::string& message);

/// Finds the functions in the ggml that `caller` (a code address in the library or program that
/// called us) uses, else in any ggml of the process. Error when there is none, or when its version
/// is not one whose structs this build knows.
Result<HostGgml> find_host_ggml(const void* caller);

/// True for the ggml versions whose structs are those this plug-in was compiled with.
bool is_known_ggml_version(std::string_view version);

}  // namespace shadowattn::plugin
