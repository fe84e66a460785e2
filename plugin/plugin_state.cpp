#include "plugin_state.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "report_file.h"
#include "shadowattn/cpu.h"
#include "shadowattn/engine.h"
#include "shadowattn/profile.h"

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
  const std::string& device = config.engine.device.name;
  return std::string("shadowattn sparse attention (keep ") + keep + ", " + isa +
         (device == "cpu" ? "" : ", " + device) + ")";
}

/// A file that cannot be written is no reason to do without the rest.
void drop_bad_path(const HostGgml& host, std::string& path, const char* what) {
  if (path.empty()) return;
  const Status writable = check_report_path(path);
  if (writable.ok()) return;
  say(host, GGML_LOG_LEVEL_WARN, writable.message() + "; running without " + what);
  path.clear();
}

/// Prints what goes wrong.
void write_trace(const HostGgml& host, const Settings& settings) {
  if (settings.trace == nullptr) return;
  const Status status = write_report_file(settings.config.trace_path, settings.trace->to_json());
  if (!status.ok()) say(host, GGML_LOG_LEVEL_ERROR, status.message());
}

PluginState* make_state(const void* caller) {
  const Result<HostGgml> host = find_host_ggml(caller);
  if (!host.ok()) {
    say({}, GGML_LOG_LEVEL_ERROR, host.status().message() + "; the plug-in is not used");
    return nullptr;
  }
  auto state = std::make_unique<PluginState>(host.value());
  state->configure_from_environment();
  return state.release();
}

/// Writes report and timeline when the process ends or unloads the plug-in.
class FilesAtExit {
 public:
  explicit FilesAtExit(PluginState* state) : state_(state) {}
  FilesAtExit(const FilesAtExit&) = delete;
  FilesAtExit& operator=(const FilesAtExit&) = delete;
  ~FilesAtExit() {
    try {
      if (state_ == nullptr) return;
      state_->leave_log();
      state_->write_files();
      state_->print_quality();
    } catch (...) {  // out of memory: no report
    }
  }

 private:
  PluginState* const state_;
};

}  // namespace

PluginState::PluginState(const HostGgml& host) : host_(host) { apply_disabled("not configured"); }

std::shared_ptr<const Settings> PluginState::settings() const {
  const std::lock_guard lock(mutex_);
  return settings_;
}

void PluginState::configure_from_environment() {
  const char* text = std::getenv(kVariable);
  Result<Config> config = parse_config(text == nullptr ? "" : text);
  Status status = config.status();
  if (status.ok()) {
    drop_bad_path(host_, config.value().report_path, "a report");
    drop_bad_path(host_, config.value().trace_path, "a timeline");
  }
  if (status.ok()) status = apply(config.value());
  if (status.ok()) return;
  say(host_, GGML_LOG_LEVEL_ERROR,
      std::string(kVariable) + ": " + status.message() + "; attention is left to the host");
  apply_disabled("bad config");
}

Status PluginState::configure(std::string_view text) {
  const Result<Config> config = parse_config(text);
  if (!config.ok()) return config.status();
  for (const std::string& path : {config.value().report_path, config.value().trace_path}) {
    if (path.empty()) continue;
    if (Status writable = check_report_path(path); !writable.ok()) return writable;
  }
  return apply(config.value());
}

Status PluginState::apply(Config config) {
  // Forces a level for any program; isa= in the config is the more specific of the two.
  const char* isa = std::getenv(kIsaVariable);
  if (isa != nullptr && config.engine.isa.empty()) config.engine.isa = isa;
  const std::string asked = to_string(config);
  if (use_again(asked)) return {};
  take_profile(config);
  // The engine knows what this machine can do: ask it now, not in the middle of a prompt.
  const Result<Engine> engine = Engine::create(config.engine);
  if (!engine.ok()) return engine.status();
  Settings settings;
  settings.asked = asked;
  settings.config = config;
  settings.isa = isa_name(engine.value().features());
  settings.trace = trace_for(config);
  const std::string description = describe_device(config, settings.isa);
  set_settings(std::move(settings), description);
  return {};
}

bool PluginState::use_again(const std::string& asked) {
  const std::lock_guard lock(mutex_);
  std::erase_if(earlier_, [](const auto& earlier) { return earlier.expired(); });
  if (settings_ != nullptr && settings_->trace != nullptr) return false;
  for (const auto& earlier : earlier_) {
    std::shared_ptr<const Settings> settings = earlier.lock();
    if (settings == nullptr || settings->asked != asked || settings->trace != nullptr) continue;
    settings_ = std::move(settings);
    return true;
  }
  return false;
}

void PluginState::take_profile(Config& config) {
  if (config.profile_path.empty()) return;
  Result<Profile> profile = load_profile(config.profile_path);
  if (profile.ok()) {
    config.engine.profile = std::make_shared<const Profile>(std::move(profile).value());
    return;
  }
  warn_once("the profile is not used: " + profile.status().message());
  config.profile_path.clear();
}

/// The log goes on when its file stays the same; otherwise the file of the last one is written now.
std::shared_ptr<TraceLog> PluginState::trace_for(const Config& config) const {
  const std::shared_ptr<const Settings> last = settings();
  const bool same = last->config.trace_path == config.trace_path &&
                    last->config.engine.device.name == config.engine.device.name;
  if (same) return last->trace;
  write_trace(host_, *last);
  if (config.trace_path.empty()) return nullptr;
  return std::make_shared<TraceLog>(config.engine.device.name);
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
  earlier_.push_back(settings_);
}

bool PluginState::may_use_threads() {
  pid_t owner = 0;
  return threads_in_.compare_exchange_strong(owner, getpid()) || owner == getpid();
}

void PluginState::add_cache(const void* cache) {
  const std::lock_guard lock(mutex_);
  caches_.insert(cache);
}

void PluginState::remove_cache(const void* cache) {
  const std::lock_guard lock(mutex_);
  if (const auto found = caches_.find(cache); found != caches_.end()) caches_.erase(found);
}

bool PluginState::knows_cache(const void* cache) const {
  const std::lock_guard lock(mutex_);
  return cache != nullptr && caches_.contains(cache);
}

std::string PluginState::report_json() const {
  const std::shared_ptr<const Settings> current = settings();
  return report_.to_json(current->config, current->isa);
}

std::string PluginState::take_trace_json() {
  const std::shared_ptr<TraceLog> trace = settings()->trace;
  return trace == nullptr ? TraceLog("").to_json() : trace->take_json();
}

void PluginState::write_files() {
  const std::lock_guard lock(write_mutex_);
  const std::shared_ptr<const Settings> current = settings();
  write_trace(host_, *current);
  const std::string& path = current->config.report_path;
  if (path.empty()) return;
  const Status status = write_report_file(path, report_json());
  if (!status.ok()) say(host_, GGML_LOG_LEVEL_ERROR, status.message());
}

void PluginState::print_quality() {
  const std::string line = report_.quality_line(settings()->config);
  if (!line.empty()) say(host_, GGML_LOG_LEVEL_INFO, line);
}

void PluginState::warn_once(const std::string& message) {
  constexpr size_t kMostMessages = 16;  // they may hold numbers
  const std::lock_guard lock(write_mutex_);
  if (printed_.size() >= kMostMessages || !printed_.insert(message).second) return;
  say(host_, GGML_LOG_LEVEL_WARN, message);
}

PluginState* shared_state(const void* caller) {
  static PluginState* const state = make_state(caller);
  static const FilesAtExit report(state);
  return state;
}

}  // namespace shadowattn::plugin
