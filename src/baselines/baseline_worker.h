// One unit of work of a baseline that chooses keys: the query heads of one KV head × a run of query
// rows, from operands to output. One thread's scratch lives here.
#pragma once

#include <cstdint>
#include <vector>

#include "attend/attend_lists.h"
#include "attend/attend_lists16.h"
#include "attend/row_sampler.h"
#include "baselines/block_shares.h"
#include "baselines/key_choice.h"
#include "baselines/softmax_shares.h"
#include "kernels/pilot_dot/pilot_dot.h"
#include "plan/list_plan.h"
#include "shadowattn/engine.h"

namespace shadowattn {

struct BaselineKernels {
  AttendKernel attend;
  const Attend16Kernel* attend16 = nullptr;  ///< null: f32 only
  PilotDotKernel pilot_dot;
};

/// Read-only, shared by all threads.
struct BaselineCall {
  const AttentionCall& call;
  const EngineOptions& options;
  const Visibility& visibility;
  const BaselineKernels& kernels;
  const BlockMeans& means;  ///< of the KV head at hand; Mode::kBlock
  int64_t rows = 0;         ///< most query rows of a tile
};

class BaselineWorker {
 public:
  /// Grows the scratch for tiles of up to call.rows query rows. Throws std::bad_alloc.
  void reserve(const BaselineCall& call);

  /// Computes the output rows of one tile and KV head, all modes but kNpuInt8. Throws
  /// std::bad_alloc.
  void run(const BaselineCall& call, const QueryTile& tile, int64_t kv_head);

  /// Exact attention of `rows` to `list`. Throws std::bad_alloc.
  void attend(const BaselineCall& call, int64_t kv_head, const ListRows& rows,
              const TokenList& list);
  /// All that the rows see, exactly.
  void attend_densely(const BaselineCall& call, int64_t kv_head, const ListRows& rows);
  /// Of those of `rows` that are to be sampled.
  void sample(const BaselineCall& call, const ListRows& rows, const TokenList& list,
              double estimated_lost);

  int64_t scratch_bytes() const;

  CallReport counters;  ///< what this thread did: lists, pairs, rows, times, samples

 private:
  bool estimate(const BaselineCall& call, int64_t kv_head, const ListRows& list);
  /// False when the rows had to be computed densely for a NaN or an infinity.
  bool run_list(const BaselineCall& call, int64_t kv_head, const ListRows& list);
  void run_window(const BaselineCall& call, int64_t kv_head, const ListRows& row);

  SoftmaxShares shares_;
  BlockShares block_shares_;
  KeyChooser chooser_;
  ListAttender attender_;
  ListAttender16 attender16_;
  RowSampler sampler_;
  std::vector<double> rank_;  // [keys]
};

}  // namespace shadowattn
