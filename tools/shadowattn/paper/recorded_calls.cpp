#include "paper/recorded_calls.h"

#include <algorithm>
#include <set>

#include "failure.h"
#include "progress.h"
#include "record_capture.h"
#include "text.h"

namespace shadowattn::tool::paper {
namespace {

std::set<int> spread(int layers, int most) {
  std::set<int> chosen;
  const int count = std::min(layers, most);
  for (int i = 0; i < count; ++i) {
    chosen.insert(static_cast<int>((int64_t{2} * i + 1) * layers / (2 * count)));
  }
  return chosen;
}

std::vector<llama_token> window(const Workbench& workbench, int64_t length) {
  const auto windows = workbench.windows(length, 1);
  if (!windows.empty()) return windows.front();
  throw Failure("the text has no " + format_count(length) + " tokens; give a longer one");
}

}  // namespace

PluginDefaults::~PluginDefaults() {
  try {
    plugin_.configure(Config());
    plugin_.reset_report();
  } catch (const std::exception&) {  // the defaults are no bad config; it may lack memory
  }
}

std::vector<RecordedCall> record_calls(const Workbench& workbench, int64_t length, int64_t rows,
                                       int most_layers) {
  const std::vector<llama_token> tokens = window(workbench, length);
  const auto last = static_cast<size_t>(std::min(rows, length));
  const PluginDefaults at_the_end(workbench.place.plugin);
  Config off;  // llama.cpp's own attention is what is recorded
  off.enabled = false;
  workbench.place.plugin.configure(off);
  AttentionCapture capture(spread(llama_model_n_layer(workbench.place.model.get()), most_layers));
  ContextOptions options;
  options.tokens = length;
  options.ubatch = static_cast<int>(rows);
  options.threads = workbench.place.threads;
  options.on_node = AttentionCapture::on_node;
  options.on_node_data = &capture;
  LlamaContext context(workbench.place.runtime, workbench.place.model, options);
  Progress progress("recording attention", length, "tokens");
  const auto on_progress = [&](int64_t done) { progress.update(done); };
  bool complete = context.append(std::span(tokens).first(tokens.size() - last), on_progress);
  capture.arm();
  complete = complete && context.append(std::span(tokens).last(last));
  if (!complete) eval::throw_interrupted();
  std::vector<RecordedCall> calls;
  for (const auto& [layer, call] : capture.calls()) calls.push_back(call);
  if (!calls.empty()) return calls;
  throw Failure("no layer of this model has attention that llama.cpp computes with its flash " +
                std::string("attention over a KV cache, so there is nothing to time"));
}

}  // namespace shadowattn::tool::paper
