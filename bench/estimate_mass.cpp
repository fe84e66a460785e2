// estimate_mass: what every way to estimate Q·Kᵀ and to share token lists retains of softmax mass,
// on attention recorded by `shadowattn record`.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/llama_session.h"
#include "common/progress.h"
#include "common/summary.h"
#include "common/text.h"
#include "mass_table.h"
#include "measure/recorded_calls.h"
#include "program.h"

namespace shadowattn::bench {
namespace {

using tool::Failure;
using tool::measure::RecordedCalls;

constexpr char kHelp[] =
    "Chooses each token list by an estimate of its rows' logits and measures, with exact logits,\n"
    "the softmax mass that the rows retain. All heads of all layers and recordings count alike.";

const std::map<std::string, OperandCase>& cases() {
  static const std::map<std::string, OperandCase> all = {
      {"recorded", OperandCase::kRecorded},
      {"channels", OperandCase::kLargeChannels},
      {"bias", OperandCase::kKeyBias},
      {"both", OperandCase::kBoth},
  };
  return all;
}

struct Options {
  std::vector<std::string> recordings;
  std::vector<std::string> cases = {"recorded"};
  std::string what = "estimates";
  std::string format = "md";
  int threads = tool::default_threads();
  MassOptions mass;
};

std::vector<MassResult> measure(OperandCase which, const std::vector<MassConfig>& configs,
                                const Options& options, RecordedCalls& calls,
                                tool::Progress& progress, int64_t* done) {
  std::vector<MassResult> results = empty_results(configs, options.mass);
  for (const std::string& path : options.recordings) {
    calls.for_each(path, [&](const AttentionCall& call) {
      add_call(call, which, configs, options.mass, calls.executor(), &results);
    });
    progress.update(++*done);
  }
  return results;
}

void measure_all(const Options& options) {
  const tool::InterruptGuard guard;
  const tool::LlamaRuntime runtime;
  RecordedCalls calls(options.threads);
  const std::vector<MassConfig> configs =
      options.what == "lists" ? list_configs() : estimate_configs();
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  std::string text;
  {
    tool::Progress progress("measuring",
                            static_cast<int64_t>(options.recordings.size() * options.cases.size()),
                            "recordings");
    int64_t done = 0;
    for (const std::string& name : options.cases) {
      const std::vector<MassResult> results =
          measure(cases().at(name), configs, options, calls, progress, &done);
      all.push_back({{"recordings", options.recordings},
                     {"case", name},
                     {"results", mass_json(results, options.mass)}});
      text += "Operands: " + name + "\n\n" + mass_markdown(results, options.mass) + "\n";
    }
  }
  std::printf("%s", (options.format == "json" ? tool::json_text(all) + "\n" : text).c_str());
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("recording", options.recordings, "files made by `shadowattn record`")
      ->required()
      ->type_name("FILE...");
  app.add_option("--what", options.what, "estimates: each row its own list; or lists [estimates]")
      ->check(CLI::IsMember({"estimates", "lists"}));
  app.add_option("--case", options.cases,
                 "operands as recorded, with outlier channels, with a large bias of the keys, both "
                 "[recorded]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(cases()));
  app.add_option("--keep", options.mass.keeps, "shares of tokens to keep [0.05,0.1,0.2,0.5]")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1e-6, 1.0));
  app.add_option("--runs", options.mass.runs, "runs of 64 query rows to look at [4]")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--sink", options.mass.forced.sink, "first tokens that every list has [0]")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--recent", options.mass.forced.recent, "last tokens of a row, likewise [0]")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("-o,--output", options.format, "md or json [md]")
      ->check(CLI::IsMember({"md", "json"}));
  tool::add_threads_option(app, options.threads);
}

}  // namespace
}  // namespace shadowattn::bench

int main(int argc, char** argv) {
  using namespace shadowattn::bench;
  Options options;
  CLI::App app(kHelp, "estimate_mass");
  add_options(app, options);
  return run_program(app, argc, argv, [&] { measure_all(options); });
}
