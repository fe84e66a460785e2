// Calls whose lists are chosen by what a key changes in the output (EngineOptions::output_error),
// with what a layer's calls learn for the next: the energy of its output, what each head keeps, and
// which heads are better off dense.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "attend/value_pages.h"
#include "engine/cost_probe.h"
#include "engine/shadow_tile.h"
#include "pilot/pilot.h"
#include "shadowattn/engine.h"
#include "shadowattn/executor.h"

namespace shadowattn {

class ErrorLists {
 public:
  explicit ErrorLists(const EngineOptions& options) : options_(options) {}

  /// Whether the method takes calls like this one at all.
  static bool takes(const EngineOptions& options, const AttentionCall& call,
                    const Visibility& visibility);

  /// Whether some head of a call that is long enough is expected to gain by it. Throws
  /// std::bad_alloc.
  bool pays(const AttentionCall& call, const Visibility& visibility);

  /// Computes the call with the executor's threads. Throws std::bad_alloc.
  void run(const CallContext& context, KeyEstimates& keys, std::vector<TileWorker>& workers,
           Executor& executor, CallReport* report);

  /// Takes note of the output of a dense call.
  void learn_dense(const AttentionCall& call);

  int64_t scratch_bytes() const { return values_.scratch_bytes(); }

 private:
  /// Of one query head of a layer.
  struct HeadMemory {
    double kept = 0.0;      ///< share of the keys that its lists kept
    int64_t looked_at = 0;  ///< visible keys then; 0: never
  };
  struct LayerMemory {
    double energy = 0.0;  ///< mean squared length of an output row and head; 0: not known
    std::vector<HeadMemory> heads;
  };
  struct Task {
    ListRows list;
    bool dense = false;
    bool done = false;
  };
  struct KnownCosts {
    CostShape heads;
    CostModel model;
  };

  LayerMemory& memory(const AttentionCall& call);
  /// Null when they cannot be measured.
  const CostModel* costs(const AttentionCall& call);
  /// Whether a head that keeps this share gains by lists, in a call with so many rows.
  bool head_pays(const CostModel& model, double kept, int64_t rows, int64_t group_heads) const;
  void plan(const CallContext& context, const LayerMemory& memory, const CostModel* model);
  void run_tasks(const CallContext& context, const ErrorCall* error,
                 std::vector<TileWorker>& workers, Executor& executor);
  void find_energy(const CallContext& context, LayerMemory& memory,
                   std::vector<TileWorker>& workers, Executor& executor);
  void sum_up(const CallContext& context, LayerMemory& memory, CallReport* report) const;

  const EngineOptions& options_;
  std::map<int32_t, LayerMemory> layers_;
  std::vector<KnownCosts> costs_;
  ValuePages values_;
  std::vector<Task> tasks_;
  std::vector<ErrorTile> results_;  // [tasks]
};

}  // namespace shadowattn
