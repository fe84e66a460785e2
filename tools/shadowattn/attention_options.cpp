#include "attention_options.h"

#include <algorithm>
#include <thread>

#include "failure.h"

namespace shadowattn::tool {
namespace {

constexpr int kMaxThreads = 1024;
constexpr char kGroup[] = "Attention";

// The plug-in's own parser decides, so that the command and SHADOWATTN accept the same.
std::string problem_with(const std::string& key, const std::string& value) {
  if (value.find(',') != std::string::npos) return "one value is expected, found " + value;
  const auto config = parse_config(key + "=" + value);
  return config.ok() ? "" : config.status().message();
}

}  // namespace

void AttentionOptions::add(CLI::App& app, const std::string& flag, const std::string& key,
                           const std::string& help) {
  const auto keep_item = [this, key](const std::string& value) {
    text_ += key + "=" + value + ",";
  };
  app.add_option_function<std::string>(flag, keep_item, help)
      ->check([key](const std::string& value) { return problem_with(key, value); })
      ->type_name("")
      ->group(kGroup);
}

void AttentionOptions::add_mode_to(CLI::App& app) {
  add(app, "--mode", "mode",
      "shadow: sparse; dense: exact, our kernels; off: llama.cpp's own [shadow]");
}

void AttentionOptions::add_to(CLI::App& app) {
  add(app, "--keep", "keep", "share of the visible tokens to attend to, in (0, 1] [0.2]");
  add(app, "--floor", "floor", "attend to at least so many tokens [256]");
  add(app, "--sink", "sink", "first tokens that are always attended to [4]");
  add(app, "--recent", "recent", "last tokens that are always attended to [64]");
  add(app, "--rows", "rows", "neighbouring query rows that share a token list, 1 ... 64 [8]");
  add(app, "--share-heads", "share_heads", "query heads of a KV head share a list: yes, no [yes]");
  add(app, "--min-rows", "min_rows", "leave calls with fewer rows to llama.cpp");
  add(app, "--isa", "isa", "instruction set to use: see `shadowattn devices`");
}

Config AttentionOptions::config() const {
  auto config = parse_config(text_);
  if (!config.ok()) throw Failure(config.status().message(), kExitUsage);
  return std::move(config).value();
}

std::string mode_name(const Config& config) {
  if (!config.enabled) return "off";
  return config.engine.mode == Mode::kDense ? "dense" : "shadow";
}

int default_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

void add_threads_option(CLI::App& app, int& threads) {
  app.add_option("-t,--threads", threads, "threads [one per core]")
      ->check(CLI::Range(1, kMaxThreads).description(""))
      ->type_name("N");
}

}  // namespace shadowattn::tool
