// Prompts from end to end.
#include <algorithm>
#include <array>

#include "bench/run.h"
#include "common/core_choice.h"
#include "common/text.h"
#include "paper/experiments.h"
#include "paper/prefill_chapter.h"
#include "paper/published.h"
#include "paper/recorded_calls.h"
#include "paper/timing.h"

namespace shadowattn::tool::paper {
namespace {

constexpr std::array<int, 5> kLengths = {1024, 2048, 4096, 8192, 16384};
constexpr std::array<int, 2> kQuickLengths = {1024, 2048};

struct Test {
  int length = 0;  ///< tokens in the end
  int tokens = 0;  ///< of these timed, the last ones
};

/// Longer prompts are measured by their last chunk: it alone says what depth costs, and sooner.
Test test_of(const Workbench& workbench, int length) {
  const bool whole = length <= workbench.effort.longest_whole_prompt;
  return {length, whole ? length : static_cast<int>(kChunkRows)};
}

std::vector<DeviceOptions> devices_of(const CoreSetup& setup) {
  std::vector<DeviceOptions> devices;
  if (setup.device < 0) return devices;
  for (const PipelineMode mode :
       {PipelineMode::kOff, PipelineMode::kFifo, PipelineMode::kPlanned}) {
    DeviceOptions device = on_npu_sim({}, setup.device).device;
    device.pipeline = mode;
    devices.push_back(std::move(device));
  }
  return devices;
}

BenchSetup bench_setup(const Workbench& workbench, const CoreSetup& cores, const Test& test) {
  const EngineOptions defaults;
  BenchSetup setup;
  setup.prompts = {test.tokens};
  setup.depths = {test.length - test.tokens};
  setup.threads = cores.threads();
  setup.repetitions = workbench.effort.repetitions;
  setup.ubatch = workbench.place.ubatch;
  setup.text = workbench.windows(test.length, 1).front();
  setup.dials = {{.keep = defaults.keep,
                  .attn_error = defaults.attn_error,
                  .gate = defaults.gate,
                  .devices = false},
                 {.keep = published::kKeep, .attn_error = 0, .gate = false}};
  setup.devices = devices_of(cores);
  return setup;
}

std::string row_id(const BenchRow& row) {
  std::string id = to_string(row.attention);
  if (row.attention == Attention::kShadow && row.keep.value_or(1) < 1) {
    id += "-" + format_fixed(*row.keep, 1);
  }
  return row.device ? id + "-npu-" + row.device->pipeline : id;
}

// In seconds per 1000 tokens of processor time, and of wall time for ours; llama.cpp's attention is
// not timed by itself.
double attention_share(const BenchRow& row) {
  if (row.stages && row.stages->attention_ms + row.stages->other_ms > 0) {
    return row.stages->attention_ms / (row.stages->attention_ms + row.stages->other_ms);
  }
  const double all = row.cpu_s_per_1k;
  return all > 0 ? row.attention_cpu_s_per_1k.value_or(0) / all : 0;
}

Json row_json(const BenchRow& row) {
  Json json = {{"id", row_id(row)},
               {"wall_ns", row.samples_ns},
               {"median_wall_ns", row.ns.median},
               {"tokens_per_second", row.ts.median},
               {"llama_ratio", row.ratio},
               {"cpu_s_per_1k", row.cpu_s_per_1k},
               {"attention_share", attention_share(row)}};
  if (row.attention == Attention::kLlama) {
    json["flash_attention"] = row.flash_attention;
    if (row.other_flash_attention_ts) {
      json["other_flash_attention_tokens_per_second"] = *row.other_flash_attention_ts;
    }
    return json;
  }
  json["kept_share"] = row.kept_share.value_or(1);
  json["dense_reasons"] = row.dense_reasons;
  if (row.device_times) {
    json["device"] = {{"launches", row.device_times->launches},
                      {"busy_ms", row.device_times->busy_ms},
                      {"wait_ms", row.device_times->wait_ms},
                      {"span_ms", row.device_times->span_ms},
                      {"simulation_cpu_ms", row.device_times->simulation_cpu_ms},
                      {"idle_share", row.device_idle_share.value_or(0)},
                      {"cpu_idle_share", row.cpu_idle_share.value_or(0)},
                      {"notes", row.device_notes}};
  }
  return json;
}

Json measure_setup(const Workbench& workbench, const CoreSetup& cores, const Test& test) {
  Json json = {{"id", cores.id},
               {"label", cores.label},
               {"threads", cores.threads()},
               {"device", cores.device >= 0},
               {"methods", Json::array()}};
  const eval::Workplace& place = workbench.place;
  const PluginDefaults at_the_end(place.plugin);
  run_on_cores(cores.cpu, [&] {
    Bench bench(place.runtime, place.model, bench_setup(workbench, cores, test), &place.plugin);
    const bool complete =
        bench.measure([&](const BenchTest& what, const std::vector<BenchSeries>& series) {
          for (const BenchRow& row : bench_rows(what, series)) {
            json["methods"].push_back(row_json(row));
          }
        });
    if (!complete) eval::throw_interrupted();
  });
  return json;
}

Json measure(const Workbench& workbench, const Test& test) {
  const MeasuringCores cores = measuring_cores();
  Json values = {{"length", test.length},
                 {"tokens", test.tokens},
                 {"keep", published::kKeep},
                 {"attn_error", EngineOptions().attn_error},
                 {"layers", llama_model_n_layer(workbench.place.model.get())},
                 {"setups", Json::array()},
                 {"cores_note", cores_note(cores)}};
  for (const CoreSetup& setup : core_setups(cores)) {
    values["setups"].push_back(measure_setup(workbench, setup, test));
  }
  return values;
}

/// From the longest that is measured down, every `effort.prefill_step`-th.
std::vector<int> lengths_of(const Workbench& workbench) {
  if (workbench.quick) return {kQuickLengths.begin(), kQuickLengths.end()};
  std::vector<int> lengths;
  const int64_t longest = std::min(workbench.effort.longest, workbench.place.model.train_context());
  int skip = 0;
  for (auto length = kLengths.rbegin(); length != kLengths.rend(); ++length) {
    if (*length > longest) continue;
    if (skip++ % workbench.effort.prefill_step == 0) lengths.insert(lengths.begin(), *length);
  }
  return lengths;
}

std::vector<Part> parts(const Workbench& workbench) {
  std::vector<Part> all;
  for (const int length : lengths_of(workbench)) {
    const bool fits = length <= workbench.place.model.train_context();
    if (!fits || workbench.windows(length, 1).empty()) continue;
    const Test test = test_of(workbench, length);
    const std::string tokens = format_count(length) + " tokens";
    const bool whole = test.tokens == test.length;
    all.push_back({std::to_string(length), whole ? "a prompt of " + tokens : "the end of " + tokens,
                   3 + length / (workbench.quick ? 650.0 : 500.0),
                   [test](const Workbench& w) { return measure(w, test); }});
  }
  return all;
}

}  // namespace

Experiment prefill_experiment() {
  return {
      "prefill",
      "Prompts from end to end",
      "end-to-end latency",
      "Reading the start of the text with the model at hand: whole prompts of up to 4,096 "
      "tokens, and the last 512 tokens of longer ones. Methods take turns in one process. "
      "llama.cpp runs with and without its flash attention, and the faster counts. Shadow "
      "attention runs with its default dial, and with 20 % of the tokens (and at least 256) kept "
      "whether that pays or not; with npu-sim (a thread on another core of this machine, no "
      "phone's NPU) "
      "one launch at a time, ahead in order, and ahead in the planned order.\n"
      "The paper reads prompts of 1,792 to 4,096 tokens with models of 0.5B to 1.5B "
      "parameters; the reference implementation runs their linear layers on the NPU. Here they run "
      "on the CPU, in all columns alike.",
      parts,
      prefill_chapter};
}

}  // namespace shadowattn::tool::paper
