// What the plug-in did, summed per layer over all backends of the process. Schema: docs/plugin.md.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "device_sums.h"
#include "quality_sums.h"
#include "shadowattn/config.h"
#include "shadowattn/engine.h"

namespace shadowattn::plugin {

/// Sums over attention calls; a node of ggml with several streams is several calls.
struct CallSums {
  int64_t calls = 0;
  int64_t rows = 0;
  int64_t visible_pairs = 0;
  int64_t kept_pairs = 0;
  int64_t lists = 0;
  int64_t dense_calls = 0;
  std::map<std::string, int64_t> dense_reasons;
  int64_t dense_rows = 0;  ///< query rows × KV heads, as the next
  int64_t unpromised_rows = 0;
  double estimated_lost = 0.0;  ///< over rows × heads with lists
  int64_t estimated_rows = 0;
  double predicted_error2 = 0.0;  ///< CallReport::predicted_error², times rows × heads
  int64_t error_rows = 0;         ///< rows × heads of calls with lists by output_error
  QualitySums quality;
  int64_t sample_ns = 0;
  int64_t pilot_ns = 0;
  int64_t select_ns = 0;
  int64_t attend_ns = 0;
  int64_t wall_ns = 0;
  int64_t cpu_ns = 0;  ///< of the process, without what played a device; calls of many rows only
  int64_t scratch_bytes = 0;  ///< the most that an engine held
  DeviceSums device;

  void add(const CallReport& call, std::string_view dense_reason);
  void add(const CallSums& other);
};

/// Safe to use from several threads.
class Report {
 public:
  /// How many threads the last graph was computed with.
  void set_threads(int threads);
  /// `failure`: why the call was computed densely although the config did not ask for it.
  /// `context`: number of the llama_context that asked; `cpu_ns`: processor time that the call
  /// took; 0: not measured.
  void add_call(int32_t context, int layer, const CallReport& call, std::string_view failure = {},
                int64_t cpu_ns = 0);
  /// The host asked for a node of `layer` (-1: unknown) and the plug-in left it to the host.
  void add_decline(int layer, const std::string& reason);
  void reset();
  /// In a line, what sparsity cost; empty when nothing was sampled.
  std::string quality_line(const Config& config) const;

  /// `isa`: the level in use.
  std::string to_json(const Config& config, std::string_view isa) const;

 private:
  /// `count` is that of the host's queries: it asks several times about each node of a graph.
  struct Decline {
    int64_t count = 0;
    std::set<int> layers;
  };

  mutable std::mutex mutex_;
  int threads_ = 0;
  /// Of all contexts together. Needs mutex_.
  std::map<int, CallSums> layers() const;

  std::map<int32_t, std::map<int, CallSums>> contexts_;  ///< by number, then layer
  std::map<std::string, Decline> declined_;
};

}  // namespace shadowattn::plugin
