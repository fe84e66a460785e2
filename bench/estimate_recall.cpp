// estimate_recall: how well the device's INT8 estimate finds the tokens that matter, on attention
// recorded by `shadowattn record`.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/llama_session.h"
#include "common/summary.h"
#include "common/text.h"
#include "measure/recall_table.h"
#include "measure/recorded_calls.h"
#include "program.h"

namespace shadowattn::bench {
namespace {

using namespace tool::measure;
using tool::Failure;

constexpr char kHelp[] =
    "Compares each row's top-k by the device's INT8 estimate with its top-k by exact logits, for\n"
    "several ways to choose the static scales. The mean scales come from recordings of another\n"
    "text. Every row has its own list; sinks and recent tokens are not forced in.";

struct Options {
  std::vector<std::string> recordings;
  std::vector<std::string> calibration;
  std::string format = "md";
  int threads = tool::default_threads();
  RecallOptions recall;
};

ScalePair calibrated_mean(const Options& options, bool center_keys, RecordedCalls& session) {
  Calibration calibration;
  for (const std::string& path : options.calibration) {
    session.for_each(path, [&](const AttentionCall& call) {
      calibrate(call, center_keys, session.executor(), &calibration);
    });
  }
  return calibration.mean();
}

void measure(const Options& options) {
  const tool::InterruptGuard guard;
  const tool::LlamaRuntime runtime;
  RecordedCalls session(options.threads);
  const ScalePair mean = calibrated_mean(options, false, session);
  const ScalePair centred = calibrated_mean(options, true, session);
  const std::vector<EstimateConfig> configs = recall_configs(mean, centred, options.recall.step);
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const std::string& path : options.recordings) {
    std::vector<RecallResult> results;
    const size_t tokens = session.for_each(path, [&](const AttentionCall& call) {
      add_call(call, configs, options.recall, session.executor(), &results);
    });
    if (options.format == "json") {
      all.push_back({{"recording", path},
                     {"tokens", tokens},
                     {"mean_scales", {{"query", mean.query}, {"key", mean.key}}},
                     {"mean_scales_centered", {{"query", centred.query}, {"key", centred.key}}},
                     {"configs", recall_json(results, options.recall)}});
      continue;
    }
    std::printf(
        "%s: %s tokens; calibrated mean scales: query %.4g, key %.4g (mean subtracted: "
        "%.4g)\n\n%s\n",
        path.c_str(), tool::format_count(static_cast<int64_t>(tokens)).c_str(), double{mean.query},
        double{mean.key}, double{centred.key}, recall_markdown(results, options.recall).c_str());
    std::fflush(stdout);
  }
  if (options.format == "json") std::printf("%s\n", tool::json_text(all).c_str());
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("recording", options.recordings, "files made by `shadowattn record`")
      ->required()
      ->type_name("FILE...");
  app.add_option("--calibrate", options.calibration, "recordings of another text")
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("FILE");
  app.add_option("--keep", options.recall.keeps, "shares of tokens to keep [0.05,0.1,0.2,0.5]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1e-6, 1.0));
  app.add_option("--step", options.recall.step, "of the pairs around the mean scales [0.5]")
      ->check(CLI::Range(0.01, 0.99));
  app.add_option("--every", options.recall.every, "look at every n-th query row [4]")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-o,--output", options.format, "md or json [md]")
      ->check(CLI::IsMember({"md", "json"}));
  tool::add_threads_option(app, options.threads);
}

}  // namespace
}  // namespace shadowattn::bench

int main(int argc, char** argv) {
  using namespace shadowattn::bench;
  Options options;
  CLI::App app(kHelp, "estimate_recall");
  add_options(app, options);
  return run_program(app, argc, argv, [&] { measure(options); });
}
