#include "paper/recorded_calls.h"

#include "common/failure.h"
#include "common/progress.h"
#include "common/text.h"
#include "eval/record_window.h"
#include "paper/recorded_windows.h"

namespace shadowattn::tool::paper {
namespace {

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
  const PluginDefaults at_the_end(workbench.place.plugin);
  Config off;  // llama.cpp's own attention is what is recorded
  off.enabled = false;
  const std::vector<int> layers =
      spread_layers(llama_model_n_layer(workbench.place.model.get()), most_layers);
  Progress progress("recording attention", length, "tokens");
  std::vector<RecordedCall> calls;
  for (auto& [layer, call] :
       eval::record_window(workbench.place, tokens, {layers.begin(), layers.end()}, rows, off,
                           [&](int64_t done) { progress.update(done); })) {
    calls.push_back(call);
  }
  return calls;
}

}  // namespace shadowattn::tool::paper
