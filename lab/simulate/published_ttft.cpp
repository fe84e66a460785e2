#include "simulate/published_ttft.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace shadowattn::tool::simulate {

const char* const kPublishedTtftSource =
    "mllm repository at 2cb4dba, ShadowNPU document, table of device results: Xiaomi 14, one run "
    "per row";

namespace {

constexpr char kGen3[] = "Snapdragon 8 Gen 3";
constexpr char kGen2[] = "Snapdragon 8 Gen 2";

/// How the published code reads a model's prompt.
struct PublishedModel {
  const char* shape;  ///< of known_shapes()
  const char* name;
  int64_t chunk;
  int64_t dense_layers;
};

struct PublishedRow {
  PublishedModel model;
  int64_t tokens;
  double dense_ms;
  double sparse_ms;
  bool fitted;
  bool dense_throttled;
  const char* note;
};

constexpr PublishedModel kQwen25 = {"qwen2.5-1.5b", "Qwen2.5-1.5B", 512, 2};
constexpr PublishedModel kQwen18 = {"qwen1.5-1.8b", "Qwen1.5-1.8B", 256, 1};
constexpr PublishedModel kQwen05 = {"qwen1.5-0.5b", "Qwen1.5-0.5B", 128, 1};
constexpr char kRefined[] = "last token computed again on the CPU";
constexpr char kWrong[] = "wrong answer in both modes";

constexpr PublishedRow kRows[] = {
    {kQwen25, 1024, 5431.974, 2421.385, true, false, ""},
    {kQwen25, 2048, 15934.188, 5830.462, true, false, ""},
    {kQwen25, 4096, 102427.645, 18479.409, false, true, ""},
    {kQwen18, 1024, 6367.342, 2927.293, false, false, kRefined},
    {kQwen18, 2048, 18397.042, 6854.959, false, false, kRefined},
    {kQwen18, 4096, 64306.241, 18375.520, false, false, kRefined},
    {kQwen05, 1024, 3340.596, 1461.830, false, false, ""},
    {kQwen05, 2048, 13812.382, 4335.775, false, false, kWrong},
    {kQwen05, 4096, 45178.520, 13285.944, false, false, kWrong},
};

/// Three cores for sparse attention, four for dense; a launch hands its scores over at its end.
PrefillOptions published_options(const PublishedRow& row, Attention attention) {
  return {.context = row.tokens,
          .chunk = row.model.chunk,
          .attention = attention,
          .pilot = Pilot::kOperator,
          .launches = Launches::kPublished,
          .pipeline = PipelineMode::kOff,
          .keep = 0.2,
          .dense_layers = row.model.dense_layers,
          .core = CoreKind::kMiddle,
          .cores = 3,
          .dense_cores = 4};
}

double milliseconds(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options) {
  return predict_prefill(soc, shape, options).ttft_ns() / 1e6;
}

TtftComparison compare(const SocModel& soc, const PublishedRow& row, Attention attention) {
  const bool dense = attention == Attention::kDense;
  const bool throttled = dense && row.dense_throttled;
  return {.model = row.model.name,
          .tokens = row.tokens,
          .attention = attention,
          .predicted_ms =
              milliseconds(soc, parse_shape(row.model.shape), published_options(row, attention)),
          .published_ms = dense ? row.dense_ms : row.sparse_ms,
          .fitted = row.fitted,
          .throttled = throttled,
          .note = throttled ? "throttled" : row.note};
}

bool is(const SocModel& soc, const char* chip) { return soc.name.rfind(chip, 0) == 0; }

/// A prompt with dense and with sparse attention.
struct DenseAndSparse {
  Prediction dense;
  Prediction sparse;

  double ttft_ratio() const { return dense.ttft_ns() / sparse.ttft_ns(); }
  double attention_ratio() const {
    return dense.prompt.attention_ns() / sparse.prompt.attention_ns();
  }
};

/// One middle core and the paper's graphs, all layers sparse. The one launch whose time is
/// published has 128 query rows, so chunks have.
DenseAndSparse read_as_in_paper(const SocModel& soc, const char* model, int64_t tokens) {
  PrefillOptions options = {.context = tokens,
                            .chunk = 128,
                            .attention = Attention::kSparse,
                            .pilot = Pilot::kGraph,
                            .launches = Launches::kPublished,
                            .pipeline = PipelineMode::kPlanned,
                            .keep = 0.2,
                            .dense_layers = 0,
                            .core = CoreKind::kMiddle,
                            .cores = 1,
                            .dense_cores = 1};
  const ModelShape shape = parse_shape(model);
  DenseAndSparse result;
  result.sparse = predict_prefill(soc, shape, options);
  options.attention = Attention::kDense;
  result.dense = predict_prefill(soc, shape, options);
  return result;
}

/// Over the paper's models at some lengths.
struct MeanAndLargest {
  double mean = 0;
  double largest = 0;
};

MeanAndLargest over_paper_models(const SocModel& soc, const std::array<int64_t, 3>& lengths,
                                 double (DenseAndSparse::*ratio)() const) {
  constexpr std::array kModels = {"phonelm-0.5b", "phonelm-1.5b", "qwen2-0.5b", "qwen2-1.5b"};
  MeanAndLargest result;
  for (const char* model : kModels) {
    for (const int64_t tokens : lengths) {
      const double value = (read_as_in_paper(soc, model, tokens).*ratio)();
      result.mean += value / static_cast<double>(kModels.size() * lengths.size());
      result.largest = std::max(result.largest, value);
    }
  }
  return result;
}

constexpr char kKernel[] = "arXiv 2508.16703, latency of the attention kernel";
constexpr char kEndToEnd[] = "arXiv 2508.16703, end-to-end latency";
constexpr char kMinutes[] = "arXiv 2508.16703, end-to-end latency on a Redmi K60 Champion";
constexpr char kDecoding[] = "decoding of 10 or 50 tokens included";
constexpr char kTaskMinutes[] =
    "of minutes for a task whose number of prompts is not published; decoding included";

std::vector<SpeedupComparison> gen3_speedups(const SocModel& soc) {
  const MeanAndLargest kernel =
      over_paper_models(soc, {1024, 2048, 4096}, &DenseAndSparse::attention_ratio);
  const MeanAndLargest tasks =
      over_paper_models(soc, {3840, 4096, 1792}, &DenseAndSparse::ttft_ratio);
  return {{"attention, mean of 4 models x 3 lengths", kernel.mean, 3.5, kKernel, ""},
          {"attention, largest of them", kernel.largest, 6.9, kKernel, ""},
          {"end to end, mean of 4 models x 3 tasks", tasks.mean, 2.9, kEndToEnd, kDecoding},
          {"end to end, largest of them", tasks.largest, 4.5, kEndToEnd, kDecoding}};
}

std::vector<SpeedupComparison> gen2_speedups(const SocModel& soc) {
  const auto row = [&](const char* task, int64_t tokens, double full, double ours) {
    const double predicted = read_as_in_paper(soc, "phonelm-0.5b", tokens).ttft_ratio();
    return SpeedupComparison{std::string("end to end, PhoneLM-0.5B, ") + task, predicted,
                             full / ours, kMinutes, kTaskMinutes};
  };
  return {row("ArxivSum, 3,840 tokens", 3840, 1.2, 0.6),
          row("Octopus, 1,792 tokens", 1792, 2.5, 2.0),
          row("DroidCall, 4,096 tokens", 4096, 2.7, 2.2)};
}

}  // namespace

std::vector<TtftComparison> compare_with_published(const SocModel& soc) {
  std::vector<TtftComparison> rows;
  if (!is(soc, kGen3)) return rows;
  for (const PublishedRow& row : kRows) {
    rows.push_back(compare(soc, row, Attention::kDense));
    rows.push_back(compare(soc, row, Attention::kSparse));
  }
  return rows;
}

std::vector<TtftComparison> compare_with_published(const SocModel& soc, const ModelShape& shape) {
  std::vector<TtftComparison> rows;
  if (!is(soc, kGen3)) return rows;
  for (const PublishedRow& row : kRows) {
    if (!parse_shape(row.model.shape).same_shape(shape)) continue;
    rows.push_back(compare(soc, row, Attention::kDense));
    rows.push_back(compare(soc, row, Attention::kSparse));
  }
  return rows;
}

std::vector<SpeedupComparison> compare_paper_speedups(const SocModel& soc) {
  if (is(soc, kGen3)) return gen3_speedups(soc);
  if (is(soc, kGen2)) return gen2_speedups(soc);
  return {};
}

ErrorSummary summarise(const std::vector<TtftComparison>& rows, RowKind kind) {
  ErrorSummary summary;
  double sum = 0;
  for (const TtftComparison& row : rows) {
    if (row.throttled || row.fitted != (kind == RowKind::kFitted)) continue;
    ++summary.rows;
    sum += std::abs(row.error());
    if (std::abs(row.error()) > std::abs(summary.largest)) summary.largest = row.error();
  }
  if (summary.rows > 0) summary.mean_absolute = sum / static_cast<double>(summary.rows);
  return summary;
}

}  // namespace shadowattn::tool::simulate
