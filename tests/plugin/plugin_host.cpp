#include "plugin_host.h"

#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "control.h"

namespace shadowattn::plugin_test {
namespace {

template <typename Function>
Function control(const char* name) {
  void* function = ggml_backend_reg_get_proc_address(plugin(), name);
  if (function == nullptr) throw std::runtime_error(std::string("the plug-in lacks ") + name);
  return reinterpret_cast<Function>(function);
}

ggml_backend_reg_t load() {
  ggml_backend_load_all_from_path(SHADOWATTN_LLAMA_BIN);
  ggml_backend_reg_t reg = ggml_backend_load(SHADOWATTN_PLUGIN);
  if (reg == nullptr) throw std::runtime_error("cannot load " SHADOWATTN_PLUGIN);
  return reg;
}

}  // namespace

ggml_backend_reg_t plugin() {
  static ggml_backend_reg_t const reg = load();
  return reg;
}

std::string configure_error(const std::string& config) {
  char error[512] = "";
  const int result =
      control<plugin::ConfigureFn>(plugin::kConfigureName)(config.c_str(), error, sizeof(error));
  if ((result != 0) != (error[0] != '\0')) throw std::runtime_error("result and message disagree");
  return error;
}

void configure(const std::string& config) {
  const std::string error = configure_error(config);
  if (!error.empty()) throw std::runtime_error(error);
}

nlohmann::json report() {
  const std::unique_ptr<char, decltype(&std::free)> text(
      control<plugin::ReportFn>(plugin::kReportName)(), std::free);
  return nlohmann::json::parse(text.get());
}

nlohmann::json take_trace() {
  const std::unique_ptr<char, decltype(&std::free)> text(
      control<plugin::TraceTakeFn>(plugin::kTraceTakeName)(), std::free);
  return nlohmann::json::parse(text.get());
}

void reset_report() { control<plugin::ReportResetFn>(plugin::kReportResetName)(); }

}  // namespace shadowattn::plugin_test
