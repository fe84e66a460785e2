// What others do, behind the engine's interface: to compare shadow attention with. Written to be
// right, and quick enough to run over a book.
//
//   kSparseF32  as shadow, but a key's rank is the sum of the list's softmax shares by f32 scores
//   kOracle     each row of each head has its own best keys by its own softmax shares
//   kBlock      whole blocks of 64 keys, by the query's score with the block's mean key
//   kWindow     each row's first `sink` and last keys
//   kNpuInt8    dense, in INT8 throughout (baselines/int8_attention.h)
//
// kSparseF32 and kBlock share lists as EngineOptions::rows_per_list and share_heads say. Sinks,
// recent tokens and each row's own are in as everywhere. Rows whose logits hold a NaN or an
// infinity are computed densely.
#pragma once

#include <cstdint>
#include <vector>

#include "baselines/baseline_worker.h"
#include "baselines/block_shares.h"
#include "baselines/int8_attention.h"
#include "shadowattn/engine.h"
#include "shadowattn/executor.h"

namespace shadowattn {

/// Whether `mode` is one of them.
bool is_baseline(Mode mode);

/// One call at a time; keeps scratch, and of kNpuInt8 the scales of each layer, from call to call.
class Baselines {
 public:
  /// options.mode must be a baseline.
  Baselines(const EngineOptions& options, const BaselineKernels& kernels);

  /// Computes call.output and returns the report, but for wall_ns. The result does not depend on
  /// the number of threads. Throws std::bad_alloc.
  CallReport attend(const AttentionCall& call, const Visibility& visibility, Executor& executor);

 private:
  int64_t rows_per_list() const;
  void choose_and_attend(const BaselineCall& context, Executor& executor);
  CallReport sum_up(const BaselineCall& context) const;

  const EngineOptions& options_;
  BaselineKernels kernels_;
  std::vector<BaselineWorker> workers_;
  BlockMeans means_;
  Int8Attention int8_;
};

}  // namespace shadowattn
