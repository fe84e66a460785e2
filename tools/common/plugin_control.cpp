#include "common/plugin_control.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "common/failure.h"
#include "common/files.h"

namespace shadowattn::tool {
namespace fs = std::filesystem;
namespace {

constexpr char kPluginFile[] = "libggml-shadowattn.so";

// Beside the libraries in a build folder and in an installation; beside the program elsewhere.
fs::path find_plugin() {
  for (const fs::path& folder : {program_folder() / ".." / "lib", program_folder()}) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / kPluginFile, ignored)) {
      return fs::weakly_canonical(folder / kPluginFile, ignored);
    }
  }
  throw Failure(std::string("the plug-in ") + kPluginFile +
                " was not found in ../lib beside this program; build or install shadowattn again");
}

}  // namespace

bool PluginControl::loaded_by_host() {
  return ggml_backend_reg_by_name(plugin::kRegName) != nullptr;
}

PluginControl::PluginControl(LlamaRuntime& runtime) {
  // Loaded already when GGML_BACKEND_PATH names it.
  registry_ = ggml_backend_reg_by_name(plugin::kRegName);
  if (registry_ == nullptr) {
    path_ = find_plugin().string();
    runtime.take_error();
    registry_ = ggml_backend_load(path_.c_str());
    if (registry_ == nullptr) {
      const std::string reason = runtime.take_error();
      throw Failure("the plug-in " + path_ + " does not load" +
                    (reason.empty() ? "" : ": " + reason) + "; build or install shadowattn again");
    }
  }
  configure_ = find<plugin::ConfigureFn>(plugin::kConfigureName);
  report_ = find<plugin::ReportFn>(plugin::kReportName);
  reset_ = find<plugin::ReportResetFn>(plugin::kReportResetName);
  take_trace_ = find<plugin::TraceTakeFn>(plugin::kTraceTakeName);
}

template <typename Function>
Function PluginControl::find(const char* name) const {
  void* function = ggml_backend_reg_get_proc_address(registry_, name);
  if (function == nullptr) {
    throw Failure(std::string("the plug-in has no function ") + name +
                  "; it is of another version than this program");
  }
  return reinterpret_cast<Function>(function);
}

std::string PluginControl::device_name() const {
  if (ggml_backend_reg_dev_count(registry_) == 0) return "";
  return ggml_backend_dev_name(ggml_backend_reg_dev_get(registry_, 0));
}

std::string PluginControl::device_description() const {
  if (ggml_backend_reg_dev_count(registry_) == 0) return "";
  return ggml_backend_dev_description(ggml_backend_reg_dev_get(registry_, 0));
}

void PluginControl::configure(const Config& config) const {
  std::array<char, 512> error{};
  if (configure_(to_string(config).c_str(), error.data(), error.size()) == 0) return;
  throw Failure(error.data());
}

std::string PluginControl::take_trace() const {
  const std::unique_ptr<char, decltype(&std::free)> text(take_trace_(), &std::free);
  if (!text) throw Failure("out of memory while making the timeline");
  return text.get();
}

nlohmann::json PluginControl::report() const {
  const std::unique_ptr<char, decltype(&std::free)> text(report_(), &std::free);
  if (!text) throw Failure("out of memory while making the report");
  nlohmann::json report = nlohmann::json::parse(text.get(), nullptr, false);
  if (report.is_discarded()) throw Failure("the plug-in's report is not valid JSON");
  return report;
}

}  // namespace shadowattn::tool
