// What a benchmark measures, and the figures made of it. No llama.cpp here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/statistics.h"

namespace shadowattn::tool {

/// One of llama-bench's tests: a prompt of `tokens`, or as many single tokens, after `depth`
/// others.
struct BenchTest {
  bool generation = false;
  int tokens = 0;
  int depth = 0;

  std::string kind() const;  ///< "pp512", "tg32"
  std::string name() const;  ///< "pp512 @ d2048"; "pp512" at depth 0
};

enum class Attention {
  kLlama,   ///< llama.cpp's own
  kDense,   ///< our kernels, every token
  kShadow,  ///< our kernels, the tokens that matter
};
std::string to_string(Attention attention);  ///< "llama", "dense", "shadow"

/// Where the time of one run went, in milliseconds.
struct AttentionStages {
  double pilot_ms = 0;  ///< these three: sums over threads
  double select_ms = 0;
  double attend_ms = 0;
  double attention_ms = 0;  ///< of the whole attention, as llama.cpp sees it
  double other_ms = 0;      ///< of the run, outside attention
};

/// How a shadow column uses a device.
struct DeviceUse {
  std::string name;      ///< "npu-sim"
  std::string pipeline;  ///< "off", "fifo", "planned"
  int fuse_heads = 0;    ///< KV heads per launch at most; 0: as many as it takes

  std::string label() const;  ///< "npu-sim planned, fuse all"
};

/// What a device did in one run, or the mean over runs.
struct DeviceTimes {
  double launches = 0;
  double busy_ms = 0;            ///< the device worked
  double wait_ms = 0;            ///< CPU threads waited for it, summed
  double span_ms = 0;            ///< from the first launch to the last attended list, calls summed
  double simulation_cpu_ms = 0;  ///< spent playing the device
};

/// One timed run.
struct BenchRun {
  int64_t wall_ns = 0;
  double cpu_seconds = 0;  ///< of the process, without those that played a device
  /// Of these in attention and outside. None: llama.cpp's own.
  std::optional<double> attention_cpu_seconds;
  std::optional<double> outside_cpu_seconds;
  int64_t peak_memory_bytes = 0;
  int64_t kv_bytes = 0;  ///< keys and values in the cache at the end of the run
  AttentionStages stages;
  DeviceTimes device;
  std::map<std::string, int64_t> device_notes;  ///< why it did not do its part -> calls
  int64_t visible_pairs = 0;
  int64_t kept_pairs = 0;
  std::map<std::string, int64_t> dense_reasons;  ///< -> calls
};

/// All runs of one column in one test.
struct BenchSeries {
  Attention attention = Attention::kLlama;
  bool flash_attention = true;
  double keep = 1;                  ///< shadow only
  std::optional<DeviceUse> device;  ///< shadow only; none: the CPU estimates
  int threads = 1;
  std::string started;  ///< UTC, ISO 8601
  std::vector<BenchRun> runs;
};

/// A line of the result: one column in one test.
struct BenchRow {
  BenchTest test;
  Attention attention = Attention::kLlama;
  bool flash_attention = true;
  std::optional<double> keep;  ///< none: llama.cpp's own
  std::optional<DeviceUse> device;
  std::string started;
  std::vector<int64_t> samples_ns;
  std::vector<double> samples_ts;  ///< tokens per second
  Statistics ns;
  Statistics ts;
  double ratio = 1;                                ///< to llama.cpp's row of this test
  std::optional<double> other_flash_attention_ts;  ///< median of the slower of llama.cpp's two
  double cpu_s_per_1k = 0;                         ///< processor seconds per 1000 tokens
  std::optional<double> attention_cpu_s_per_1k;    ///< of these in attention
  std::optional<DeviceTimes> device_times;         ///< mean over runs
  std::optional<double> simulation_cpu_s_per_1k;   ///< not in cpu_s_per_1k
  std::optional<double> device_idle_share;  ///< of span_ms; none: no device, or it had no work
  std::optional<double> cpu_idle_share;     ///< of span_ms times threads, waiting for the device
  std::map<std::string, int64_t> device_notes;
  std::optional<AttentionStages> stages;  ///< mean over runs; none: llama.cpp's own
  std::optional<double> kept_share;
  std::map<std::string, int64_t> dense_reasons;
  int64_t peak_memory_bytes = 0;
  int64_t kv_bytes = 0;

  std::string label() const;  ///< "llama (fa 1)", "dense", "shadow 0.2", "shadow 0.2, npu-sim …"
};

/// The rows of one test: llama.cpp's first, the faster of its series by their medians, then ours
/// in the order given. Run i of every series was taken in one turn; all have the same number of
/// runs, but for the slower of llama.cpp's, which may have fewer.
/// llama.cpp's attention is not timed by itself: its processor time is the run's less what our
/// columns spend outside attention.
std::vector<BenchRow> bench_rows(const BenchTest& test, const std::vector<BenchSeries>& series);

}  // namespace shadowattn::tool
