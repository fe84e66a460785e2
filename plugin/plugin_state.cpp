#include "plugin_state.h"

#include <cstdio>
#include <cstdlib>

#include "report_file.h"
#include "shadowattn/cpu.h"
#include "shadowattn/engine.h"

namespace shadowattn::plugin {
namespace {

constexpr char kVariable[] = "SHADOWATTN";
constexpr char kIsaVariable[] = "SHADOWATTN_ISA";

/// The strongest level that `features` cover.
std::string isa_name(CpuFeatures features) {
  std::string name = "scalar";
  for (const IsaLevel& level : isa_levels()) {
    if (features.covers(level.features)) name = level.name;
  }
  return name;
}

std::string describe_device(const Config& config, const std::string& isa) {
  if (!config.enabled) return "shadowattn (off)";
  if (config.engine.mode == Mode::kDense) return "shadowattn dense attention (" + isa + ")";
  char keep[32];
  std::snprintf(keep, sizeof(keep), "%g", config.engine.keep);
  return std::string("shadowattn sparse attention (keep ") + keep + ", " + isa + ")";
}

PluginState* make_state(const void* caller) {
  const Result<HostGgml> host = find_host_ggml(caller);
  if (!host.ok()) {
    print_message(host.status().message() + "; the plug-in is not used");
    return nullptr;
  }
  auto state = std::make_unique<PluginState>(host.value());
  state->configure_from_environment();
  return state.release();
}

/// Writes the report when the process ends or unloads the plug-in.
class ReportAtExit {
 public:
  explicit ReportAtExit(PluginState* state) : state_(state) {}
  ReportAtExit(const ReportAtExit&) = delete;
  ReportAtExit& operator=(const ReportAtExit&) = delete;
  ~ReportAtExit() {
    try {
      if (state_ != nullptr) state_->write_report();
    } catch (...) {  // out of memory: no report
    }
  }

 private:
  PluginState* const state_;
};

}  // namespace

void print_message(const std::string& message) {
  std::fprintf(stderr, "shadowattn: %s\n", message.c_str());
}

PluginState::PluginState(const HostGgml& host) : host_(host) { apply_disabled("not configured"); }

std::shared_ptr<const Settings> PluginState::settings() const {
  const std::lock_guard lock(mutex_);
  return settings_;
}

void PluginState::configure_from_environment() {
  const char* text = std::getenv(kVariable);
  Result<Config> config = parse_config(text == nullptr ? "" : text);
  Status status = config.status();
  if (status.ok() && !config.value().report_path.empty()) {
    const Status writable = check_report_path(config.value().report_path);
    if (!writable.ok()) {
      print_message(writable.message() + "; running without a report");
      config.value().report_path.clear();
    }
  }
  if (status.ok()) status = apply(config.value());
  if (status.ok()) return;
  print_message(std::string(kVariable) + ": " + status.message() +
                "; attention is left to the host");
  apply_disabled("bad config");
}

Status PluginState::configure(std::string_view text) {
  const Result<Config> config = parse_config(text);
  if (!config.ok()) return config.status();
  if (!config.value().report_path.empty()) {
    Status writable = check_report_path(config.value().report_path);
    if (!writable.ok()) return writable;
  }
  return apply(config.value());
}

Status PluginState::apply(Config config) {
  // Forces a level for any program; isa= in the config is the more specific of the two.
  const char* isa = std::getenv(kIsaVariable);
  if (isa != nullptr && config.engine.isa.empty()) config.engine.isa = isa;
  // The engine knows what this machine can do: ask it now, not in the middle of a prompt.
  const Result<Engine> engine = Engine::create(config.engine);
  if (!engine.ok()) return engine.status();
  Settings settings;
  settings.config = config;
  settings.isa = isa_name(engine.value().features());
  const std::string description = describe_device(config, settings.isa);
  set_settings(std::move(settings), description);
  return {};
}

void PluginState::apply_disabled(std::string_view why) {
  Settings settings;
  settings.config.enabled = false;
  set_settings(std::move(settings), "shadowattn (off: " + std::string(why) + ")");
}

void PluginState::set_settings(Settings settings, std::string description) {
  const std::lock_guard lock(mutex_);
  if (descriptions_.empty() || descriptions_.back() != description) {
    descriptions_.push_back(std::move(description));
  }
  settings.description = descriptions_.back().c_str();
  settings_ = std::make_shared<const Settings>(std::move(settings));
}

std::string PluginState::report_json() const {
  const std::shared_ptr<const Settings> current = settings();
  return report_.to_json(current->config, current->isa);
}

void PluginState::write_report() {
  const std::lock_guard lock(write_mutex_);
  const std::string path = settings()->config.report_path;
  if (path.empty()) return;
  const Status status = write_report_file(path, report_json());
  if (!status.ok()) print_message(status.message());
}

PluginState* shared_state(const void* caller) {
  static PluginState* const state = make_state(caller);
  static const ReportAtExit report(state);
  return state;
}

}  // namespace shadowattn::plugin
