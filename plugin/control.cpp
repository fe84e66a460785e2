#include "control.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "control_functions.h"
#include "plugin_state.h"

namespace shadowattn::plugin {
namespace {

void copy_message(const std::string& message, char* error, size_t error_size) {
  if (error != nullptr && error_size > 0) std::snprintf(error, error_size, "%s", message.c_str());
}

int configure(const char* config, char* error, size_t error_size) noexcept {
  try {
    const Status status = shared_state()->configure(config == nullptr ? "" : config);
    copy_message(status.message(), error, error_size);
    return status.ok() ? 0 : 1;
  } catch (...) {
    if (error != nullptr && error_size > 0) std::snprintf(error, error_size, "out of memory");
    return 1;
  }
}

char* report() noexcept {
  try {
    return strdup(shared_state()->report_json().c_str());
  } catch (...) {
    return nullptr;
  }
}

char* trace_take() noexcept {
  try {
    return strdup(shared_state()->take_trace_json().c_str());
  } catch (...) {
    return nullptr;
  }
}

void report_reset() noexcept { shared_state()->report().reset(); }

}  // namespace

void* control_function(std::string_view name) {
  // Conversions to the published types: a change of signature does not compile.
  static constexpr ConfigureFn kConfigure = configure;
  static constexpr ReportFn kReport = report;
  static constexpr TraceTakeFn kTraceTake = trace_take;
  static constexpr ReportResetFn kReportReset = report_reset;
  if (name == kConfigureName) return reinterpret_cast<void*>(kConfigure);
  if (name == kReportName) return reinterpret_cast<void*>(kReport);
  if (name == kTraceTakeName) return reinterpret_cast<void*>(kTraceTake);
  if (name == kReportResetName) return reinterpret_cast<void*>(kReportReset);
  return nullptr;
}

}  // namespace shadowattn::plugin
