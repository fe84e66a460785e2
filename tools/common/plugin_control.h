// Our llama.cpp plug-in in this process: loaded, configured and asked for its report.
#pragma once

#include <ggml-backend.h>

#include <nlohmann/json.hpp>
#include <string>

#include "common/llama_session.h"
#include "plugin/control.h"
#include "shadowattn/config.h"

namespace shadowattn::tool {

class PluginControl {
 public:
  /// Loads libggml-shadowattn.so, found relative to this program. Throws Failure when it is
  /// missing or does not load.
  explicit PluginControl(LlamaRuntime& runtime);
  /// Resets the report: what the plug-in would say of it when the process ends, the command has
  /// said.
  ~PluginControl() { reset_(); }
  PluginControl(const PluginControl&) = delete;
  PluginControl& operator=(const PluginControl&) = delete;

  /// True when llama.cpp has loaded the plug-in by itself, because GGML_BACKEND_PATH names it.
  static bool loaded_by_host();

  const std::string& path() const { return path_; }  ///< "" when the host had loaded it before
  std::string device_name() const;
  std::string device_description() const;

  /// For contexts made from now on. Throws Failure with the plug-in's own words.
  void configure(const Config& config) const;

  /// What the plug-in did since the last reset; schema in docs/plugin.md.
  nlohmann::json report() const;
  void reset_report() const { reset_(); }

  /// The timeline since the last call, when the config has trace=FILE; format in docs/plugin.md.
  std::string take_trace() const;

 private:
  template <typename Function>
  Function find(const char* name) const;

  std::string path_;
  ggml_backend_reg_t registry_ = nullptr;
  plugin::ConfigureFn configure_ = nullptr;
  plugin::ReportFn report_ = nullptr;
  plugin::ReportResetFn reset_ = nullptr;
  plugin::TraceTakeFn take_trace_ = nullptr;
};

}  // namespace shadowattn::tool
