// Attention calls of the model at hand, recorded for the experiments about time.
#pragma once

#include <cstdint>
#include <vector>

#include "common/recording.h"
#include "paper/workbench.h"

namespace shadowattn::tool::paper {

/// Gives the plug-in its default settings again at the end, however that comes: what it has before
/// the first experiment.
class PluginDefaults {
 public:
  explicit PluginDefaults(const PluginControl& plugin) : plugin_(plugin) {}
  ~PluginDefaults();
  PluginDefaults(const PluginDefaults&) = delete;
  PluginDefaults& operator=(const PluginDefaults&) = delete;

 private:
  const PluginControl& plugin_;
};

/// The last `rows` query rows of a text of `length` tokens, in up to `most_layers` layers spread
/// evenly, as llama.cpp computes them. Shows progress. Throws Failure when the texts are too short
/// or the model has no such attention, and on Ctrl-C.
std::vector<RecordedCall> record_calls(const Workbench& workbench, int64_t length, int64_t rows,
                                       int most_layers);

}  // namespace shadowattn::tool::paper
