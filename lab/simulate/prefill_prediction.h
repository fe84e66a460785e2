// How long a SoC would take to read a prompt, by the figures of its file. Pure: nothing is
// measured, nothing is random. The equations, for people: docs/simulate.md.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "simulate/prefill_options.h"

namespace shadowattn::tool::simulate {

/// Where the wall time goes. Parts that overlap are counted once: the CPU's as its busy time over
/// its cores, the NPU's estimate only as what the CPU waits for it. In ns.
struct PrefillStages {
  double linear_ns = 0;           ///< linear layers, NPU
  double dense_attention_ns = 0;  ///< of dense layers, CPU
  double quantise_ns = 0;
  double estimate_ns = 0;  ///< on the CPU, with Pilot::kCpu
  double select_ns = 0;
  double attend_ns = 0;
  double waiting_ns = 0;  ///< of the CPU in sparse attention: for the NPU, or for its other cores
  double output_ns = 0;   ///< output layer, for the last token

  double attention_ns() const;  ///< all but linear layers and output layer
  double total_ns() const;
  PrefillStages& operator+=(const PrefillStages& other);
  PrefillStages scaled(double factor) const;
};

/// One member of PrefillStages: its name in tables and in JSON, and where it is.
struct PrefillStage {
  const char* title;
  const char* key;
  double PrefillStages::*ns;
};

/// All of them, in the order of a layer's work.
extern const std::array<PrefillStage, 8> kPrefillStages;

/// What the NPU does for the estimate, beside the CPU. In ns.
struct NpuStages {
  double launches = 0;  ///< how many
  double launch_ns = 0;
  double pilot_ns = 0;
};

struct Prediction {
  PrefillStages prompt;        ///< = dense layers · dense + sparse layers · sparse + output layer
  PrefillStages dense_layer;   ///< one of them, all chunks
  PrefillStages sparse_layer;  ///< likewise; all zero with Attention::kDense
  NpuStages npu;               ///< of the whole prompt
  int64_t dense_layers = 0;
  int64_t sparse_layers = 0;
  int64_t chunks = 0;
  double sparse_share = 1;  ///< of the visible tokens, that a list of a sparse layer keeps
  /// What no published time covers, in words. Empty: size, chip and cores are within them; which
  /// way launches are cut and overlap is always the model's word alone.
  std::vector<std::string> extrapolations;

  /// Time to the first token.
  double ttft_ns() const { return prompt.total_ns(); }
};

/// A prompt, read in one of several ways.
struct SimulatedWay {
  std::string name;  ///< "planned", "dense", …
  PrefillOptions options;
  Prediction prediction;
};

/// Called before each step of long work with how many are done and how many there are; may throw to
/// stop.
using Step = std::function<void(int64_t done, int64_t all)>;

/// Throws Failure when the options are out of range (check_options) or the NPU takes no launch.
/// Milliseconds for a prompt of some thousand tokens; `step`, if any, counts chunks.
Prediction predict_prefill(const SocModel& soc, const ModelShape& shape,
                           const PrefillOptions& options, const Step& step = {});

}  // namespace shadowattn::tool::simulate
