#include "common/attention_options.h"

#include <algorithm>
#include <sstream>

#include "common/core_choice.h"
#include "common/failure.h"
#include "common/profile_choice.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

constexpr char kGroup[] = "Attention";

// Of "key=value,…" items.
std::string problem_with_items(const std::string& items, const std::vector<std::string>& reserved) {
  const auto config = parse_config(items);
  if (!config.ok()) return config.status().message();
  std::istringstream stream(items);
  for (std::string item; std::getline(stream, item, ',');) {
    const std::string key = trim(item.substr(0, item.find('=')));
    if (std::find(reserved.begin(), reserved.end(), key) == reserved.end()) continue;
    return key + " is set by this subcommand itself; use its options";
  }
  return "";
}

}  // namespace

// The plug-in's own parser decides, so that the command and SHADOWATTN accept the same.
std::string config_problem(const std::string& key, const std::string& value) {
  if (value.find(',') != std::string::npos) return "one value is expected, found " + value;
  const auto config = parse_config(key + "=" + value);
  return config.ok() ? "" : config.status().message();
}

void AttentionOptions::add(CLI::App& app, const std::string& flag, const std::string& key,
                           const std::string& help) {
  const auto keep_item = [this, key](const std::string& value) {
    text_ += key + "=" + value + ",";
  };
  app.add_option_function<std::string>(flag, keep_item, help)
      ->check([key](const std::string& value) { return config_problem(key, value); })
      ->type_name("")
      ->group(kGroup);
}

void AttentionOptions::add_mode_to(CLI::App& app) {
  add(app, "--mode", "mode",
      "shadow: sparse; dense: exact, our kernels; off: llama.cpp's own [shadow]");
}

void AttentionOptions::add_errors_to(CLI::App& app) {
  add(app, "--output-error", "output_error",
      "relative error that a layer's output may have; 0: lists by --attn-error [0.02]");
  add(app, "--attn-error", "attn_error",
      "instead: share of softmax mass a query may lose; 0: attend to what --keep says [0.01]");
}

void AttentionOptions::add_to(CLI::App& app) {
  add_errors_to(app);
  add(app, "--keep", "keep", "share of the visible tokens to attend to at most, in (0, 1] [1]");
  add_shared_to(app);
  add(app, "--pipeline", "pipeline",
      "the device estimates ahead: off, fifo (in order), planned (best order) [planned]");
  add(app, "--min-rows", "min_rows",
      "leave calls with fewer rows to llama.cpp; 0: the plug-in decides [0]");
}

void AttentionOptions::add_shared_to(CLI::App& app) {
  add(app, "--floor", "floor", "attend to at least so many tokens [256]");
  add(app, "--sink", "sink", "first tokens that are always attended to [4]");
  add(app, "--recent", "recent", "last tokens that are always attended to [64]");
  add(app, "--rows", "rows", "neighbouring query rows that share a token list, 1 ... 64 [8]");
  add(app, "--share-heads", "share_heads", "query heads of a KV head share a list: yes, no [yes]");
  add(app, "--pilot-step", "pilot_step", "estimate from every n-th row of a list, 1 ... 64 [1]");
  add(app, "--precision", "precision",
      "exact attention in 16 bits where the processor is fast at it, or not: fast, f32 [fast]");
  add(app, "--gate", "gate",
      "dense attention where it is predicted to be faster: auto, off [auto]");
  add(app, "--device", "device", "what computes the estimate: cpu, npu-sim, hexagon [cpu]");
  app.add_option("--profile", profile_,
                 "what `shadowattn profile` measured of the model; none: defaults; auto: the file "
                 "beside the model [auto]")
      ->type_name("FILE")
      ->group(kGroup);
  add(app, "--isa", "isa", "instruction set to use: see `shadowattn devices`");
}

void AttentionOptions::add_config_to(CLI::App& app, std::vector<std::string> reserved) {
  reserved.emplace_back("profile");
  const auto keep_items = [this](const std::string& items) { text_ += items + ","; };
  app.add_option_function<std::string>("--config", keep_items,
                                       "more keys of the plug-in, key=value,... (docs/plugin.md)")
      ->check([reserved = std::move(reserved)](const std::string& items) {
        return problem_with_items(items, reserved);
      })
      ->type_name("")
      ->group(kGroup);
}

bool AttentionOptions::given(const std::string& key) const {
  std::istringstream stream(text_.substr(defaults_));
  for (std::string item; std::getline(stream, item, ',');) {
    if (trim(item.substr(0, item.find('='))) == key) return true;
  }
  return false;
}

Config AttentionOptions::config() const {
  auto config = parse_config(text_);
  if (!config.ok()) throw Failure(config.status().message(), kExitUsage);
  return std::move(config).value();
}

Config AttentionOptions::config_for(const std::string& model) const {
  Config config = this->config();
  choose_profile(profile_, model, config);
  return config;
}

void check_device(const Config& config) {
  const DeviceOptions& device = config.engine.device;
  if (!config.enabled || config.engine.mode == Mode::kDense || device.name == "cpu") return;
  const auto opened = open_device(device);
  if (opened.ok()) return;
  throw Failure("the device " + device.name + " cannot be used: " + opened.status().message());
}

std::string mode_name(const Config& config) {
  if (!config.enabled) return "off";
  return config.engine.mode == Mode::kDense ? "dense" : "shadow";
}

int default_threads() { return std::max(1, static_cast<int>(usable_cores().size())); }

void add_threads_option(CLI::App& app, int& threads) {
  app.add_option("-t,--threads", threads, "threads [one per core]")
      ->check(CLI::Range(1, kMostThreads).description(""))
      ->type_name("N");
}

}  // namespace shadowattn::tool
