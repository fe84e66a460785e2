// Measures llama.cpp's attention and ours side by side, in one process, in turns.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/result.h"
#include "common/llama_session.h"
#include "common/plugin_control.h"
#include "shadowattn/config.h"

namespace shadowattn::tool {

/// How few tokens a shadow column attends to: as few as both let.
struct ShadowDial {
  double keep = 1;
  double attn_error = 0.01;
  double output_error = 0;
  bool gate = true;     ///< EngineOptions::gate
  bool devices = true;  ///< measured with each device, too
};

struct BenchSetup {
  std::vector<int> prompts;      ///< tokens, each above 0
  std::vector<int> generations;  ///< tokens, each above 0
  std::vector<int> depths;       ///< tokens, ascending, none twice
  int threads = 1;
  int repetitions = 3;
  int ubatch = 512;
  std::vector<llama_token> text;  ///< what is read, from its start; context_tokens() or more
  ggml_type type_k = GGML_TYPE_F16;
  ggml_type type_v = GGML_TYPE_F16;
  bool flash_off = true;  ///< measure llama.cpp without flash attention
  bool flash_on = true;   ///< … and with it; at least one of the two
  bool dense = true;
  std::vector<ShadowDial> dials;       ///< one shadow column each; at least one, or dense
  std::vector<DeviceOptions> devices;  ///< one more column each for every dial
  Config
      config;  ///< of our columns; mode, what is in the dial, min_rows and the device are set here

  /// Tokens that the largest test needs.
  int64_t context_tokens() const;
};

/// Owns the contexts: one for each column.
class Bench {
 public:
  /// Uses `plugin`, which must outlive it, or loads the plug-in when that is null. Configures it
  /// time and again, and leaves it so. Throws Failure when there is not enough memory, or the text
  /// is too short.
  Bench(LlamaRuntime& runtime, const LlamaModel& model, const BenchSetup& setup,
        const PluginControl* plugin = nullptr);
  ~Bench();

  using OnTest = std::function<void(const BenchTest& test, const std::vector<BenchSeries>& series)>;

  /// Measures all tests, depth by depth, and hands each one out as soon as it is complete. Returns
  /// false when Ctrl-C came before the end. Throws Failure when what ran is not what was asked
  /// for: our columns must attend in the plug-in, llama.cpp's must not.
  bool measure(const OnTest& on_test);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shadowattn::tool
