// What a prediction may be asked: how a prompt is read, and by what.
#pragma once

#include <cstdint>
#include <string>

#include "shadowattn/device.h"
#include "simulate/model_shape.h"
#include "simulate/soc_model.h"

namespace shadowattn::tool::simulate {

enum class Attention {
  kSparse,  ///< estimate, select, attend; some layers are dense
  kDense,   ///< all layers, on the CPU
};

/// What computes the estimate.
enum class Pilot {
  kOperator,  ///< the NPU, by an operator as fast as the published code's
  kGraph,     ///< the NPU, by the paper's compiled graphs
  kCpu,       ///< the CPU, in float
};

/// How a call is cut into launches, and how the CPU's cores share them.
enum class Launches {
  kEngine,     ///< as our engine does: KV heads × some 512 rows, a core takes one head at a time
  kPublished,  ///< as the published code does: all query heads × all rows of the chunk at once; all
               ///< cores work on one head together
};

enum class CoreKind { kMiddle, kPrime, kSmall };

struct PrefillOptions {
  int64_t context = 4096;  ///< tokens of the prompt
  int64_t chunk = 512;     ///< tokens that are read at once
  Attention attention = Attention::kSparse;
  Pilot pilot = Pilot::kOperator;
  Launches launches = Launches::kEngine;
  PipelineMode pipeline = PipelineMode::kPlanned;
  double keep = 0.2;         ///< share of tokens, on the average of all layers, (0, 1]
  int64_t dense_layers = 2;  ///< layers that keep everything, out of that average
  CoreKind core = CoreKind::kMiddle;
  int cores = 3;        ///< for the CPU's part of sparse attention
  int dense_cores = 4;  ///< for dense attention
  int fuse_heads = 0;   ///< heads per launch at most; 0: as many as fit
  double npu_speed =
      1;  ///< rates of the NPU, times those in the SoC file; launches are not changed
  double launch_ms = -1;  ///< of one launch; negative: as in the SoC file
};

inline constexpr int64_t kMostContext = 1 << 20;
inline constexpr int64_t kSmallestChunk = 64;

/// Share of the tokens that the sparse layers keep, so that all layers keep `keep` on average:
/// (keep · layers - dense layers) / (layers - dense layers).
double sparse_share(const ModelShape& shape, const PrefillOptions& options);

/// Times as fast as a middle core.
double core_speed(const SocModel& soc, CoreKind core);

/// Throws Failure (usage) when an option is out of range or options contradict each other, the
/// model or the SoC.
void check_options(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options);

/// The words of the command line: "sparse", "middle", "operator", "engine", "planned", …
std::string name_of(Attention attention);
std::string name_of(CoreKind core);
std::string name_of(Pilot pilot);
std::string name_of(Launches launches);
std::string name_of(PipelineMode pipeline);

}  // namespace shadowattn::tool::simulate
