#include "paper/kld_part.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/text.h"
#include "eval/kld_run.h"
#include "eval/report_parts.h"

namespace shadowattn::tool::paper {
namespace {

constexpr std::array<int64_t, 5> kContexts = {2048, 1024, 512, 256, eval::kShortestWindow};
constexpr int64_t kLogitBytes = int64_t{256} << 20;  // of all methods together

Json to_json(const eval::MethodTokens& run) {
  const eval::KldStatistics statistics = eval::kld_statistics(run.tokens);
  return {{"name", run.method.name},
          {"config", to_string(run.method.config)},
          {"kept", run.kept},
          {"mean_kld", statistics.kld.value},
          {"mean_kld_error", statistics.kld.error},
          {"p99_kld", statistics.kld_quantiles.p99},
          {"ppl", statistics.ppl.value},
          {"same_top", statistics.same_top.value}};
}

}  // namespace

TextHalves text_halves(const Workbench& workbench) {
  const std::span<const llama_token> first(workbench.texts.front().tokens);
  if (workbench.texts.size() > 1) return {first, workbench.texts.back().tokens, false};
  return {first.first(first.size() / 2), first.subspan(first.size() / 2), true};
}

int64_t kld_context(const Workbench& workbench) {
  const LlamaModel& model = workbench.place.model;
  const auto available =
      static_cast<int64_t>(text_halves(workbench).evaluated.size() + model.start_tokens().size());
  const int64_t most = std::min(available, model.train_context());
  for (const int64_t context : kContexts) {
    if (context <= std::min(most, workbench.effort.kld_context)) return context;
  }
  return 0;
}

Config row_lists(const Workbench& workbench, double keep) {
  Config config = workbench.quality_config();
  config.min_rows = 1;
  config.engine.attn_error = 0;
  config.engine.output_error = 0;
  config.engine.keep = keep;
  config.engine.keep_floor = 1;
  config.engine.sink = 0;
  config.engine.recent = 0;
  config.engine.rows_per_list = 1;
  config.engine.share_heads = false;
  return config;
}

Json measure_kld(const Workbench& workbench, std::vector<eval::Method> methods) {
  const std::vector<eval::Method> named = eval::make_methods({}, workbench.quality_config());
  methods.insert(methods.begin(), named.front());  // the reference
  const eval::Workplace place =
      eval::with_bounded_logits(workbench.place, methods.size(), kLogitBytes);
  eval::KldOptions options;
  options.context = kld_context(workbench);
  options.windows = workbench.effort.kld_windows;
  const std::vector<eval::KldLength> lengths =
      eval::run_kld(place, methods, text_halves(workbench).evaluated, options);
  const eval::KldLength& length = lengths.back();
  Json values = {{"context", length.context}, {"windows", length.windows}};
  const std::vector<eval::TokenComparison>& tokens = length.methods.front().tokens;
  values["tokens"] = tokens.size();
  values["reference_ppl"] = eval::kld_statistics(tokens).reference_ppl.value;
  for (const eval::MethodTokens& run : length.methods) values["methods"].push_back(to_json(run));
  return values;
}

const Json* find_method(const Json* values, const std::string& name) {
  return find_entry(values, "methods", "name", name);
}

std::string kld_note(const Json& values) {
  const int windows = values.at("windows").get<int>();
  return "KL divergence of the next token's probabilities from exact attention: " +
         format_count(values.at("tokens").get<int64_t>()) + " tokens in " +
         std::to_string(windows) + (windows == 1 ? " window of " : " windows of ") +
         format_count(values.at("context").get<int64_t>()) + ".";
}

std::string kld_text(const Json& method) {
  return eval::small_number(method.at("mean_kld")) + " ± " +
         eval::small_number(method.at("mean_kld_error")) + " nats";
}

}  // namespace shadowattn::tool::paper
