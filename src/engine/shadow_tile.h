// One unit of work: the query heads of one KV head × a run of query rows, through pilot, select and
// attend. Every stage's scratch of one thread lives here.
#pragma once

#include <vector>

#include "attend/attend_lists.h"
#include "pilot/pilot.h"
#include "plan/list_plan.h"
#include "select/token_lists.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// The kernels of one engine.
struct KernelSet {
  QuantizeKernel quantize;
  PilotDotKernel pilot_dot;
  SelectKernel select;
  AttendKernel attend;
};

KernelSet choose_kernels(CpuFeatures features);

/// What a tile needs to know of its call; read-only and shared by all threads.
struct CallContext {
  const AttentionCall& call;
  const EngineOptions& options;
  const KernelSet& kernels;
  const Visibility& visibility;
  const CallPlan& plan;
  const KeyEstimate& keys;  ///< built when the plan is not dense
};

/// Counters of one thread, summed into the CallReport.
struct TileCounters {
  int64_t lists = 0;
  int64_t nonfinite_rows = 0;
  int64_t kept_pairs = 0;
  int64_t pilot_ns = 0;
  int64_t select_ns = 0;
  int64_t attend_ns = 0;
};

class TileWorker {
 public:
  /// Grows the scratch for any tile of the plan, so that `run` allocates nothing.
  /// Throws std::bad_alloc.
  void reserve(const CallContext& context);

  /// Computes the output rows of one tile and KV head.
  void run(const CallContext& context, const QueryTile& tile, int64_t kv_head);

  TileCounters counters;

 private:
  void run_dense(const CallContext& context, const QueryTile& tile, int64_t kv_head);
  void make_lists(const CallContext& context, const QueryTile& tile, int64_t kv_head);
  bool wants_everything(const CallContext& context) const;

  std::vector<ListRows> lists_;
  TileEstimate estimate_;
  TokenSelector selector_;
  ListAttender attender_;
};

}  // namespace shadowattn
