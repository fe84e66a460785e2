#include "eval/record_window.h"

#include <algorithm>

#include "common/failure.h"
#include "common/record_capture.h"

namespace shadowattn::tool::eval {

std::set<int> all_layers(const LlamaModel& model) {
  std::set<int> layers;
  for (int i = 0; i < llama_model_n_layer(model.get()); ++i) layers.insert(i);
  return layers;
}

std::map<int, RecordedCall> record_window(const Workplace& workplace,
                                          std::span<const llama_token> window,
                                          const std::set<int>& layers, int64_t rows,
                                          const Config& config,
                                          const std::function<void(int64_t)>& on_progress) {
  workplace.plugin.configure(config);
  AttentionCapture capture(layers);
  ContextOptions options;
  options.tokens = static_cast<int64_t>(window.size());
  // The recorded rows are one call.
  options.ubatch = static_cast<int>(std::max<int64_t>(workplace.ubatch, rows));
  options.threads = workplace.threads;
  options.on_node = AttentionCapture::on_node;
  options.on_node_data = &capture;
  LlamaContext context(workplace.runtime, workplace.model, options);
  const size_t last = std::min(static_cast<size_t>(rows), window.size());
  bool done = context.append(window.first(window.size() - last), on_progress);
  capture.arm();
  done = done && context.append(window.last(last));
  workplace.plugin.reset_report();
  if (!done) throw_interrupted();
  if (!capture.calls().empty()) return capture.calls();
  throw Failure(
      "no layer of this model has attention that llama.cpp computes with its flash attention over "
      "a KV cache, so there is nothing to evaluate");
}

}  // namespace shadowattn::tool::eval
