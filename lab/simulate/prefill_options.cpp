#include "simulate/prefill_options.h"

#include "common/failure.h"
#include "common/text.h"

namespace shadowattn::tool::simulate {
namespace {

[[noreturn]] void fail(const std::string& message) { throw Failure(message, kExitUsage); }

int cores_of(const PrefillRates& rates, CoreKind core) {
  switch (core) {
    case CoreKind::kPrime:
      return rates.prime_cores;
    case CoreKind::kSmall:
      return rates.small_cores;
    case CoreKind::kMiddle:
      break;
  }
  return rates.middle_cores;
}

void check_cores(const SocModel& soc, const PrefillOptions& options) {
  const int there = cores_of(soc.rates, options.core);
  for (const int wanted : {options.cores, options.dense_cores}) {
    if (wanted >= 1 && wanted <= there) continue;
    fail("this SoC has " + std::to_string(there) + " cores of that kind, so between 1 and " +
         std::to_string(there) + " can be used, not " + std::to_string(wanted) +
         " (--cores, --dense-cores, --core)");
  }
}

void check_share(const ModelShape& shape, const PrefillOptions& options) {
  if (!(options.keep > 0 && options.keep <= 1)) fail("keep must be in (0, 1]");
  if (options.dense_layers < 0 || options.dense_layers >= shape.layers) {
    fail("dense layers must be fewer than the model's " + format_count(shape.layers) +
         " layers and not negative");
  }
  if (sparse_share(shape, options) > 0) return;
  fail(format_count(options.dense_layers) + " dense layers of " + format_count(shape.layers) +
       " keep more than a share of " + format_fixed(options.keep, 3) +
       " on average by themselves; give a larger --keep or fewer --dense-layers");
}

}  // namespace

double sparse_share(const ModelShape& shape, const PrefillOptions& options) {
  const auto layers = static_cast<double>(shape.layers);
  const auto dense = static_cast<double>(options.dense_layers);
  return (options.keep * layers - dense) / (layers - dense);
}

double core_speed(const SocModel& soc, CoreKind core) {
  switch (core) {
    case CoreKind::kPrime:
      return soc.rates.prime_speed;
    case CoreKind::kSmall:
      return soc.rates.small_speed;
    case CoreKind::kMiddle:
      break;
  }
  return 1;
}

void check_options(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options) {
  check_shape(shape, "model shape " + shape.name);
  if (options.context < 1 || options.context > kMostContext) {
    fail("the prompt must have between 1 and " + format_count(kMostContext) + " tokens");
  }
  if (options.chunk < kSmallestChunk || options.chunk > kMostContext) {
    fail("a chunk must have between " + format_count(kSmallestChunk) + " and " +
         format_count(kMostContext) + " tokens");
  }
  if (!(options.npu_speed >= 0.01 && options.npu_speed <= 1000)) {
    fail("the NPU's speed must be between 0.01 and 1000 times that of the SoC file");
  }
  if (options.fuse_heads < 0) fail("heads per launch must not be negative");
  if (!(options.launch_ms <= 1e6)) fail("a launch must take no more than 1000 seconds");
  check_cores(soc, options);
  if (options.attention == Attention::kSparse) check_share(shape, options);
}

std::string name_of(Attention attention) {
  return attention == Attention::kDense ? "dense" : "sparse";
}

std::string name_of(CoreKind core) {
  switch (core) {
    case CoreKind::kPrime:
      return "prime";
    case CoreKind::kSmall:
      return "small";
    case CoreKind::kMiddle:
      break;
  }
  return "middle";
}

std::string name_of(Pilot pilot) {
  switch (pilot) {
    case Pilot::kGraph:
      return "graph";
    case Pilot::kCpu:
      return "cpu";
    case Pilot::kOperator:
      break;
  }
  return "operator";
}

std::string name_of(Launches launches) {
  return launches == Launches::kEngine ? "engine" : "published";
}

std::string name_of(PipelineMode pipeline) {
  switch (pipeline) {
    case PipelineMode::kOff:
      return "off";
    case PipelineMode::kFifo:
      return "fifo";
    case PipelineMode::kPlanned:
      break;
  }
  return "planned";
}

}  // namespace shadowattn::tool::simulate
