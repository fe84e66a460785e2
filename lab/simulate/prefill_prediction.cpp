#include "simulate/prefill_prediction.h"

#include <algorithm>
#include <cmath>

#include "common/text.h"
#include "simulate/attention_call.h"

namespace shadowattn::tool::simulate {

const std::array<PrefillStage, 8> kPrefillStages = {{
    {"linear layers", "linear_ms", &PrefillStages::linear_ns},
    {"dense attention", "dense_attention_ms", &PrefillStages::dense_attention_ns},
    {"quantise", "quantise_ms", &PrefillStages::quantise_ns},
    {"estimate on the CPU", "estimate_ms", &PrefillStages::estimate_ns},
    {"select", "select_ms", &PrefillStages::select_ns},
    {"attend", "attend_ms", &PrefillStages::attend_ns},
    {"waiting", "waiting_ms", &PrefillStages::waiting_ns},
    {"output layer", "output_ms", &PrefillStages::output_ns},
}};

namespace {

// Published times are of prompts and models up to these.
constexpr int64_t kPublishedContext = 4096;
constexpr int64_t kPublishedParameters = 2'000'000'000;

/// Adds up what the chunks of a prompt cost one layer.
class LayerSums {
 public:
  LayerSums(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options)
      : soc_(soc), shape_(shape), options_(options) {}

  void add_chunk(int64_t first, int64_t rows) {
    const double linear = linear_ns();
    dense.linear_ns += linear;
    dense.dense_attention_ns += dense_attention_ns(first, rows);
    if (options_.attention == Attention::kDense) return;
    sparse.linear_ns += linear;
    if (options_.pilot == Pilot::kCpu) {
      add_cpu_call(first, rows);
    } else {
      add_npu_call(first, rows);
    }
  }

  PrefillStages dense;
  PrefillStages sparse;
  NpuStages npu;

 private:
  /// Computing or reading the weights, whichever takes longer. A chunk is always computed whole.
  double linear_ns() const {
    const auto weights = static_cast<double>(shape_.layer_parameters());
    const double operations = 2 * weights * static_cast<double>(options_.chunk);
    const double rate = soc_.rates.linear_operations_per_second * options_.npu_speed;
    return std::max(operations / rate, weights / soc_.rates.memory_bytes_per_second) * 1e9;
  }

  double dense_attention_ns(int64_t first, int64_t rows) const {
    const double pairs = count_pairs(first, rows, 1).rectangle * static_cast<double>(shape_.heads);
    const double cores = std::pow(options_.dense_cores, soc_.rates.dense_scaling);
    return pairs * soc_.rates.dense_attention_ns / (cores * core_speed(soc_, options_.core));
  }

  /// All heads and rows are independent: the cores share them evenly.
  void add_cpu_call(int64_t first, int64_t rows) {
    const PairCounts pairs = count_pairs(first, rows, sparse_share(shape_, options_));
    const double heads =
        static_cast<double>(shape_.heads) / (options_.cores * core_speed(soc_, options_.core));
    const auto dim = static_cast<double>(shape_.head_dim);
    sparse.estimate_ns +=
        heads * pairs.visible * 2 * dim / soc_.rates.estimate_operations_per_second * 1e9;
    sparse.select_ns += heads * pairs.visible * soc_.rates.select_ns;
    sparse.attend_ns +=
        heads * pairs.kept * 4 * dim / soc_.rates.attend_operations_per_second * 1e9;
  }

  void add_npu_call(int64_t first, int64_t rows) {
    const CallWork call = cut_call(soc_, shape_, options_, first, rows);
    double select = 0;
    double attend = 0;
    for (const LaunchWork& launch : call.launches) {
      select += launch.select_ns / call.workers;
      attend += launch.attend_ns / call.workers;
      npu.launches += static_cast<double>(launch.launches);
      npu.launch_ns += launch.overhead_ns;
      npu.pilot_ns += launch.job.device_ns - launch.overhead_ns;
    }
    sparse.quantise_ns += call.quantise_ns;
    sparse.select_ns += select;
    sparse.attend_ns += attend;
    // Rounding apart, no makespan is shorter than the CPU's share of work.
    sparse.waiting_ns += std::max(0.0, call_makespan(call, options_.pipeline) - select - attend);
  }

  const SocModel& soc_;
  const ModelShape& shape_;
  const PrefillOptions& options_;
};

std::vector<std::string> extrapolations_of(const ModelShape& shape, const PrefillOptions& options) {
  std::vector<std::string> reasons;
  if (options.context > kPublishedContext) {
    reasons.push_back("more than " + format_count(kPublishedContext) + " tokens");
  }
  if (shape.parameters() > kPublishedParameters) reasons.emplace_back("a model beyond 2B");
  if (options.npu_speed != 1) reasons.emplace_back("an NPU of another speed");
  if (options.core != CoreKind::kMiddle) reasons.emplace_back("cores other than the middle ones");
  if (options.dense_cores != 4) reasons.emplace_back("dense attention on other than 4 cores");
  if (options.attention == Attention::kDense) return reasons;
  if (options.cores != 3) reasons.emplace_back("sparse attention on other than 3 cores");
  if (options.keep != 0.2) reasons.emplace_back("a share kept other than 0.2");
  if (options.launch_ms >= 0) reasons.emplace_back("launches of another length");
  if (options.pilot == Pilot::kGraph) reasons.emplace_back("graphs of other shapes than the one");
  if (options.pilot == Pilot::kCpu) reasons.emplace_back("an estimate on the CPU");
  return reasons;
}

double output_ns(const SocModel& soc, const ModelShape& shape) {
  const auto weights = static_cast<double>(shape.vocab * shape.hidden);
  return weights / soc.rates.memory_bytes_per_second * 1e9;
}

}  // namespace

double PrefillStages::attention_ns() const { return total_ns() - linear_ns - output_ns; }

double PrefillStages::total_ns() const {
  double sum = 0;
  for (const PrefillStage& stage : kPrefillStages) sum += this->*stage.ns;
  return sum;
}

PrefillStages& PrefillStages::operator+=(const PrefillStages& other) {
  for (const PrefillStage& stage : kPrefillStages) this->*stage.ns += other.*stage.ns;
  return *this;
}

PrefillStages PrefillStages::scaled(double factor) const {
  PrefillStages result;
  for (const PrefillStage& stage : kPrefillStages) result.*stage.ns = this->*stage.ns * factor;
  return result;
}

Prediction predict_prefill(const SocModel& soc, const ModelShape& shape,
                           const PrefillOptions& options, const Step& step) {
  check_options(soc, shape, options);
  const bool all_dense = options.attention == Attention::kDense;
  Prediction prediction;
  prediction.dense_layers = all_dense ? shape.layers : options.dense_layers;
  prediction.sparse_layers = shape.layers - prediction.dense_layers;
  if (!all_dense) prediction.sparse_share = sparse_share(shape, options);
  LayerSums layer(soc, shape, options);
  const int64_t chunks = (options.context + options.chunk - 1) / options.chunk;
  for (int64_t first = 0; first < options.context; first += options.chunk) {
    if (step) step(prediction.chunks, chunks);
    layer.add_chunk(first, std::min(options.chunk, options.context - first));
    ++prediction.chunks;
  }
  prediction.dense_layer = layer.dense;
  prediction.sparse_layer = layer.sparse;
  const auto sparse_layers = static_cast<double>(prediction.sparse_layers);
  prediction.prompt = layer.dense.scaled(static_cast<double>(prediction.dense_layers));
  prediction.prompt += layer.sparse.scaled(sparse_layers);
  prediction.prompt.output_ns = output_ns(soc, shape);
  prediction.npu = {layer.npu.launches * sparse_layers, layer.npu.launch_ns * sparse_layers,
                    layer.npu.pilot_ns * sparse_layers};
  prediction.extrapolations = extrapolations_of(shape, options);
  return prediction;
}

}  // namespace shadowattn::tool::simulate
