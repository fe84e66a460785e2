// How a program in the same process steers the plug-in: functions found by name through the
// registry, without linking to the plug-in.
//
//   ggml_backend_reg_t reg = ggml_backend_load(path);  // or ggml_backend_reg_by_name(kRegName)
//   auto configure = reinterpret_cast<ConfigureFn>(
//       ggml_backend_reg_get_proc_address(reg, kConfigureName));
#pragma once

#include <cstddef>

namespace shadowattn::plugin {

/// Name of the plug-in's registry entry and of its only device.
inline constexpr char kRegName[] = "SHADOWATTN";

/// Applies a config string (see shadowattn/config.h) to every backend of the process: backends
/// made later and, from their next graph on, those that exist. It replaces what the environment
/// variable SHADOWATTN said; keys that are not named get their defaults. Returns 0. On a bad
/// config nothing changes, `error` receives one line (cut to `error_size` bytes, always
/// terminated; may be null when error_size is 0) and the result is not 0.
///
/// Which operators the device claims (mode=off, min_rows) takes effect when the host next splits
/// a graph; llama.cpp may reuse a graph it has split before, so call this before creating a
/// llama_context or between prompts of different batch sizes.
using ConfigureFn = int (*)(const char* config, char* error, size_t error_size);
inline constexpr char kConfigureName[] = "shadowattn_configure";

/// The report so far as JSON text (schema: docs/plugin.md), from malloc: free() it. Null when
/// there is no memory.
using ReportFn = char* (*)();
inline constexpr char kReportName[] = "shadowattn_report";

/// The timeline so far as JSON text (format: docs/plugin.md), from malloc: free() it; the plug-in
/// then forgets it. It holds events only while the config has trace=FILE; /dev/null as the file
/// serves programs that take the timeline here. Null when there is no memory.
using TraceTakeFn = char* (*)();
inline constexpr char kTraceTakeName[] = "shadowattn_trace_take";

/// Forgets everything reported so far.
using ReportResetFn = void (*)();
inline constexpr char kReportResetName[] = "shadowattn_report_reset";

}  // namespace shadowattn::plugin
