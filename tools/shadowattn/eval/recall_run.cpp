#include "eval/recall_run.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "eval/attention_operands.h"
#include "eval/kld_run.h"
#include "eval/record_window.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool::eval {
namespace {

constexpr int64_t kSamplesPerCall = 2048;  // (row, head) pairs, each with all logits and a sort

Engine make_engine(const EngineOptions& options, int threads) {
  EngineOptions with_threads = options;
  with_threads.threads = threads;
  auto engine = Engine::create(with_threads);
  if (!engine.ok()) throw Failure(engine.status().message());
  return std::move(engine).value();
}

CallReport attend(Engine& engine, const AttentionOperands& operands, const std::string& name) {
  CallReport report;
  const Status status = engine.attend(operands.call(), &report);
  if (!status.ok()) throw Failure(name + ": " + status.message());
  return report;
}

// Engines of one's own do not read the file that the config names.
std::shared_ptr<const Profile> profile_of(const Method& method) {
  if (method.config.profile_path.empty()) return nullptr;
  auto profile = load_profile(method.config.profile_path);
  if (!profile.ok()) throw Failure("the profile: " + profile.status().message());
  return std::make_shared<const Profile>(std::move(profile).value());
}

EngineOptions engine_options(const RecallAtSetting& at, const Method& method,
                             const RecallOptions& recall) {
  EngineOptions options = method.config.engine;
  options.profile = profile_of(method);
  options = options_at(std::move(options), at.setting, !recall.floor_given);
  if (recall.granularities.empty()) return options;
  return options_at(std::move(options), at.granularity);
}

// What is to be evaluated, still without figures.
std::vector<RecallAtSetting> empty_results(const std::vector<Method>& methods,
                                           const RecallOptions& options) {
  std::vector<Granularity> granularities = options.granularities;
  if (granularities.empty()) granularities = {granularity_of(methods.front().config.engine)};
  std::vector<RecallAtSetting> results;
  for (const Setting& setting : options.settings) {
    for (size_t i = 0; i < granularities.size(); ++i) {
      results.push_back({setting, granularities[i], {}});
      for (size_t k = 1; k < methods.size(); ++k) {
        if (i > 0 && methods[k].name != kHeadline) continue;
        results.back().methods.push_back({methods[k], {}});
      }
    }
  }
  return results;
}

// ‖o - ô‖ / ‖o‖ of every row and head; rows without output are left out.
void add_output_errors(const AttentionCall& call, const std::vector<float>& exact,
                       const std::vector<float>& output, ListQualities& qualities) {
  const auto dim = static_cast<size_t>(call.value.dim);
  size_t at = 0;
  for (int64_t row = 0; row < call.query.rows; ++row) {
    for (int64_t head = 0; head < call.query.heads; ++head, at += dim) {
      double error = 0;
      double norm = 0;
      for (size_t d = at; d < at + dim; ++d) {
        const double difference = double{output[d]} - double{exact[d]};
        error += difference * difference;
        norm += double{exact[d]} * double{exact[d]};
      }
      if (!(norm > 0) || !std::isfinite(error)) continue;
      qualities.add_output_error(call.layer, static_cast<int>(head), std::sqrt(error / norm));
    }
  }
}

// What a call that attends to every token leaves to be said of its rows.
void add_whole_rows(const CallReport& report, int layer, ListQualities& qualities) {
  const int64_t visible =
      report.rows * report.heads > 0 ? report.visible_pairs / (report.rows * report.heads) : 0;
  for (int head = 0; head < static_cast<int>(report.heads); ++head) {
    RowSample sample;
    sample.head = head;
    sample.visible = sample.kept = sample.oracle_kept = visible;
    sample.recall = 1;
    qualities.add(layer, sample);
  }
}

// One method at one setting over all calls of a window: engines learn from layer to layer.
void evaluate(const Workplace& workplace, const std::map<int, RecordedCall>& calls,
              const std::map<int, std::vector<float>>& exact, EngineOptions options,
              RecallMethod& result) {
  const bool whole = keeps_all(result.method);
  const RecordedCall& first = calls.begin()->second;
  const int64_t pairs = first.q.shape[1] * (first.q.shape.size() > 2 ? first.q.shape[2] : 1);
  options.sample_every = static_cast<int32_t>(std::max<int64_t>(1, pairs / kSamplesPerCall));
  Engine engine = make_engine(options, workplace.threads);
  for (const auto& [layer, recorded] : calls) {
    if (interrupted()) throw_interrupted();
    AttentionOperands operands(recorded);
    const CallReport report = attend(engine, operands, result.method.name);
    for (const RowSample& sample : report.samples) result.qualities.add(layer, sample);
    if (report.samples.empty() && (whole || report.dense_reason != DenseReason::kNone)) {
      add_whole_rows(report, layer, result.qualities);
    }
    add_output_errors(operands.call(), exact.at(layer), operands.output(), result.qualities);
  }
}

std::map<int, std::vector<float>> exact_outputs(const Workplace& workplace, const Method& reference,
                                                const std::map<int, RecordedCall>& calls) {
  Engine engine = make_engine(reference.config.engine, workplace.threads);
  std::map<int, std::vector<float>> outputs;
  for (const auto& [layer, recorded] : calls) {
    AttentionOperands operands(recorded);
    attend(engine, operands, reference.name);
    outputs[layer] = operands.output();
  }
  return outputs;
}

}  // namespace

std::vector<RecallAtSetting> run_recall(const Workplace& workplace,
                                        const std::vector<Method>& methods,
                                        std::span<const llama_token> text,
                                        const RecallOptions& options) {
  const std::vector<llama_token> start = workplace.model.start_tokens();
  const int64_t length = options.context - static_cast<int64_t>(start.size());
  const std::vector<int64_t> starts =
      window_starts(static_cast<int64_t>(text.size()), length, options.windows);
  check_window(workplace, static_cast<int64_t>(text.size() + start.size()), options.context);

  std::vector<RecallAtSetting> results = empty_results(methods, options);
  const std::set<int> layers = all_layers(workplace.model);
  Config off;  // llama.cpp's own attention is what is recorded
  off.enabled = false;
  size_t steps = 0;
  for (const RecallAtSetting& at : results) steps += starts.size() * at.methods.size();
  Progress progress("evaluating", static_cast<int64_t>(steps), "calls of all layers");
  int64_t done = 0;
  for (const int64_t from : starts) {
    std::vector<llama_token> window = start;
    const auto part = text.subspan(static_cast<size_t>(from), static_cast<size_t>(length));
    window.insert(window.end(), part.begin(), part.end());
    const std::map<int, RecordedCall> calls =
        record_window(workplace, window, layers, workplace.ubatch, off);
    const std::map<int, std::vector<float>> exact = exact_outputs(workplace, methods[0], calls);
    for (RecallAtSetting& at : results) {
      for (RecallMethod& method : at.methods) {
        evaluate(workplace, calls, exact, engine_options(at, method.method, options), method);
        progress.update(++done);
      }
    }
  }
  return results;
}

}  // namespace shadowattn::tool::eval
