#include "paper/recorded_windows.h"

#include <algorithm>
#include <span>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "eval/attention_operands.h"
#include "eval/record_window.h"

namespace shadowattn::tool::paper {
namespace {

constexpr int kMostLayers = 8;          // whose keys and values are held at a time
constexpr int64_t kMostSampled = 1024;  // rows of all heads and layers of a window
constexpr int64_t kLeastRows = 8;       // of a head
constexpr int64_t kMostRows = 32;       // of a head
constexpr int64_t kMostWindows = 8;     // of a length

int window_count(const Workbench& workbench, int64_t length) {
  if (workbench.quick) return 3;
  return static_cast<int>(
      std::clamp<int64_t>(workbench.effort.recorded_tokens / length, 1, kMostWindows));
}

// Attention to every token, as the model is meant to have it.
Config reading_config() {
  Config config;
  config.engine.mode = Mode::kDense;
  return config;
}

int64_t sampled_rows(const LlamaModel& model, size_t layers) {
  const int64_t heads = llama_model_n_head(model.get());
  return std::clamp(kMostSampled / std::max<int64_t>(heads * static_cast<int64_t>(layers), 1),
                    kLeastRows, kMostRows);
}

}  // namespace

Json to_json(const WindowFacts& facts) {
  return {{"length", facts.length},
          {"windows", facts.windows},
          {"layers", facts.layers},
          {"sampled_rows", facts.sampled_rows}};
}

std::string windows_text(const Json& facts) {
  std::string layers;
  for (const int layer : facts.at("layers").get<std::vector<int>>()) {
    layers.append(layers.empty() ? "" : ", ").append(std::to_string(layer));
  }
  const int windows = facts.at("windows").get<int>();
  return std::to_string(windows) + (windows == 1 ? " window of " : " windows of ") +
         format_count(facts.at("length").get<int64_t>()) + " tokens, layers " + layers + ", " +
         std::to_string(facts.at("sampled_rows").get<int64_t>()) +
         " query rows of each head and window, spread over its last " +
         format_count(std::min(kRecordedRows, facts.at("length").get<int64_t>() / 2));
}

std::string calibration_text(bool calibrated_on_itself) {
  return calibrated_on_itself ? "the same window, for there is only one"
                              : "other windows of this length";
}

std::vector<int> spread_layers(int layers, int most) {
  const int count = std::min(layers, most);
  std::vector<int> chosen;
  for (int i = 0; i < count; ++i) {
    chosen.push_back(count == 1 ? 0 : i * (layers - 1) / (count - 1));
  }
  return chosen;
}

RecordedWindows::RecordedWindows(const Workbench& workbench, int64_t length, bool calibrate)
    : workbench_(workbench), executor_(make_thread_pool(workbench.place.threads)) {
  if (executor_ == nullptr) throw Failure("the threads cannot be started; give a smaller -t");
  measured_ = workbench.windows(length, window_count(workbench, length));
  if (measured_.empty()) {
    throw Failure("the texts have no window of " + format_count(length) + " tokens; give longer " +
                  "ones");
  }
  if (calibrate && measured_.size() > 1) {
    const auto some = static_cast<std::ptrdiff_t>(std::max<size_t>(measured_.size() / 4, 1));
    calibration_.assign(measured_.end() - some, measured_.end());
    measured_.erase(measured_.end() - some, measured_.end());
  }
  facts_.length = length;
  facts_.windows = static_cast<int>(measured_.size());
  const LlamaModel& model = workbench.place.model;
  facts_.layers = spread_layers(llama_model_n_layer(model.get()), kMostLayers);
  facts_.sampled_rows = std::min(sampled_rows(model, facts_.layers.size()), rows());
}

int64_t RecordedWindows::rows() const {
  return std::max<int64_t>(std::min(kRecordedRows, facts_.length / 2), 1);
}

int RecordedWindows::every() const { return static_cast<int>(rows() / facts_.sampled_rows); }

std::map<int, RecordedCall> RecordedWindows::record(
    const std::vector<llama_token>& window, const std::function<void(int64_t)>& on_progress) const {
  return eval::record_window(workbench_.place, window, {facts_.layers.begin(), facts_.layers.end()},
                             rows(), reading_config(), on_progress);
}

// Reading counts as one half of a window, what is done with its calls as the other.
void RecordedWindows::visit(const Windows& windows, const std::string& label,
                            const Step& step) const {
  const int64_t share = 2 * facts_.length;
  Progress progress(label, share * static_cast<int64_t>(windows.size()), "");
  int64_t done = 0;
  for (const std::vector<llama_token>& window : windows) {
    std::map<int, RecordedCall> calls =
        record(window, [&](int64_t tokens) { progress.update(done + tokens); });
    const auto count = static_cast<int64_t>(calls.size());
    for (int64_t i = 0; !calls.empty(); ++i) {
      if (interrupted()) eval::throw_interrupted();
      progress.update(done + facts_.length + facts_.length * i / count);
      const RecordedCall recorded = std::move(calls.begin()->second);
      calls.erase(calls.begin());
      step(eval::AttentionOperands(recorded).call());
    }
    progress.update(done += share);
  }
}

void RecordedWindows::for_each_call(const std::string& label, const Step& step) const {
  visit(measured_, label, step);
}

measure::ScalePair RecordedWindows::calibrated_mean() const {
  measure::Calibration calibration;
  visit(calibration_.empty() ? measured_ : calibration_, "calibrating",
        [&](const AttentionCall& call) {
          measure::calibrate(call, /*center_keys=*/false, *executor_, &calibration);
        });
  return calibration.mean();
}

}  // namespace shadowattn::tool::paper
