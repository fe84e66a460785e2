// The engine: one attention call from operands to output.
//
//   plan    dense, or which rows and heads share a token list and how long it may be
//   pilot   INT8 estimate of Q·Kᵀ for one tile
//   select  estimate -> token lists
//   attend  exact softmax attention over each list
//
//   auto engine = shadowattn::Engine::create({.keep = 0.2});
//   if (!engine.ok()) …
//   shadowattn::CallReport report;
//   shadowattn::Status status = engine.value().attend(call, &report);
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shadowattn/attention.h"
#include "shadowattn/cpu.h"
#include "shadowattn/device.h"
#include "shadowattn/executor.h"
#include "shadowattn/status.h"
#include "shadowattn/trace.h"

namespace shadowattn {

enum class Mode {
  kDense,   ///< every visible token: exact attention with our own kernels
  kShadow,  ///< pilot, select, attend

  // What others do, to compare with. Written to be right, not to be fast.
  kSparseF32,  ///< as kShadow, but tokens are chosen by scores of f32 operands
  kBlock,      ///< whole blocks of 64 keys, chosen by the query's score with each block's mean key
  kNpuInt8,    ///< dense, all in INT8 with scales per tensor that the layer's first call fixes
  kWindow,     ///< the first `sink` and the last tokens only
  kOracle,     ///< each row's best tokens by its exact logits
};

struct Profile;

/// Arithmetic of exact attention. Scores for the choice of tokens are INT8 either way.
enum class Precision {
  kF32,   ///< f32 operands and sums
  kFast,  ///< INT16 queries and keys, BF16 weights and values, f32 sums where the processor
          ///< multiplies these faster (kernels/attend16/attend16.h states the error); else f32
};

/// How many tokens a list keeps: at most clamp(ceil(keep · visible), keep_floor, visible), where
/// visible is the number of keys that the rows of the list may see. The first `sink` and the last
/// `recent` visible tokens and each row's own token are always in, and count as kept.
struct EngineOptions {
  Mode mode = Mode::kShadow;
  /// Relative error that a layer's output may have, in [0, 1): a token is in a list when what it
  /// changes in the output is above a threshold that keeps the sum of all others' below this; those
  /// others count as the mean of their page of 16 (kernels/keep/keep.h). 0: lists by mass or share,
  /// as the next two say, without means. Where the method cannot be used (ALiBi, soft-capped
  /// logits, a profile, a device) lists are by attn_error.
  double output_error = 0.0;
  double keep = 1.0;  ///< share of visible tokens, in (0, 1]
  /// Share of softmax mass that a query may lose, in [0, 1): of the tokens by which it is allowed,
  /// a list keeps the fewest that leave its rows, on average, 1 - attn_error of their mass (by the
  /// estimate, with a margin for the estimate's own error). 0: no such aim, a list keeps as many
  /// as `keep` allows.
  double attn_error = 0.01;
  int32_t keep_floor = 256;  ///< tokens; shorter contexts than this are dense
  int32_t sink = 4;          ///< tokens
  int32_t recent = 64;       ///< tokens

  /// Neighbouring query rows that share one token list: 1 … 64. With rows_per_list = 1 and
  /// share_heads = false every row of every head has its own top-k, as the paper defines it.
  int32_t rows_per_list = 8;
  /// The query heads of one KV head share the list too.
  bool share_heads = true;

  /// Of the query rows that share a list, the pilot scores every n-th, counted from the last:
  /// 1 … 64. More than 1 makes the estimate cheaper and the list a little worse.
  int32_t pilot_step = 1;

  Precision precision = Precision::kFast;

  /// Shadow calls run densely where that is predicted to be faster, from times that the engine
  /// measures on this machine when it first meets a shape of heads (some milliseconds). false:
  /// always shadow where there is something to leave out.
  bool gate = true;

  /// Of the (query head, row) pairs of a shadow call about one in so many is compared with exact
  /// attention (CallReport::samples); 0: none.
  int32_t sample_every = 1024;

  /// Shares and lists per head, made for the model at hand; null: none (shadowattn/profile.h).
  std::shared_ptr<const Profile> profile = nullptr;

  /// What computes the estimate. A device other than "cpu" is started at the first call that has
  /// something for it; whatever it does not do, or does wrongly, the CPU does.
  DeviceOptions device = DeviceOptions();

  int threads = 1;  ///< 1 … 1024; ignored when an executor is given
  /// Level to force ("scalar", "avx2", …); empty: the best of this machine.
  std::string isa{};
};

/// Why a call, or a part of it, was computed densely.
enum class DenseReason {
  kNone,       ///< it was not
  kRequested,  ///< Mode::kDense
  kShort,      ///< the visible context is no longer than what would be kept
  kFaster,     ///< dense attention is predicted to be faster (EngineOptions::gate)
  kNonFinite,  ///< NaN or infinity in the keys of every head: no estimate can be trusted
};

/// "requested", "context shorter than keep_floor", …: for reports.
std::string_view describe(DenseReason reason);

/// What a device did for one call; all zero when it was not asked. A tile is a run of query rows of
/// one KV head.
struct DeviceReport {
  std::string note;  ///< why the device is not used any more, or was not for a part; else empty

  int64_t launches = 0;
  int64_t rows = 0;      ///< query rows × KV heads that it estimated
  int64_t cpu_rows = 0;  ///< query rows × KV heads that were meant for it and the CPU estimated
  int64_t out_of_grid_heads = 0;  ///< KV heads that no scale of the grid holds
  int64_t refused_tiles = 0;      ///< tiles whose graph it did not compile

  int64_t key_elements = 0;  ///< quantised, and of these clipped by the scale that was chosen
  int64_t clipped_keys = 0;
  int64_t query_elements = 0;
  int64_t clipped_queries = 0;
  int64_t sampled_scores = 0;    ///< visible scores of one row per tile
  int64_t saturated_scores = 0;  ///< of these at ±127
  int64_t sampled_kept = 0;      ///< top-k keys of the sampled rows
  int64_t tied_kept = 0;         ///< of these equal to one that was left out
  int64_t checked_scores = 0;    ///< computed again on the CPU
  int64_t invalid_scores = 0;    ///< outside [-127, 127]: the device is wrong and not used any more
  int64_t compiled_graphs = 0;
  int64_t released_graphs = 0;

  int64_t late_launches = 0;  ///< played slower than the device of the SoC file would be

  int64_t busy_ns = 0;            ///< the device worked
  int64_t wait_ns = 0;            ///< CPU threads waited for it
  int64_t prepare_ns = 0;         ///< scales, buckets, quantising keys
  int64_t plan_ns = 0;            ///< choosing the order
  int64_t span_ns = 0;            ///< from the first launch to the last attended list
  int64_t simulation_cpu_ns = 0;  ///< CPU time spent playing the device
};

/// One query row of one head, compared with exact attention. Mass: share of its softmax sum.
struct RowSample {
  int32_t head = 0;
  int32_t row = 0;
  int64_t visible = 0;          ///< keys that it sees
  int64_t kept = 0;             ///< of these, in its list
  double estimated_lost = 0.0;  ///< mass outside its list as the estimate has it, mean of the list
  double lost = 0.0;            ///< mass outside its list
  double oracle_lost = 0.0;     ///< mass outside its `kept` best keys
  int64_t oracle_kept = 0;      ///< fewest keys with as much mass as its list
  double recall = 0.0;          ///< share of its `kept` best keys that are in its list
  /// Squared distance of its output from the exact one, over the mean squared length of the layer's
  /// output rows; 0 but for lists by output_error.
  double squared_error = 0.0;
};

/// What one call did. Times are sums over threads, in nanoseconds.
struct CallReport {
  DenseReason dense_reason = DenseReason::kNone;  ///< of the whole call
  int64_t rows = 0;                               ///< n_q
  int64_t heads = 0;                              ///< H
  int64_t keys = 0;                               ///< n_kv
  int64_t lists = 0;                              ///< token lists made
  int64_t visible_pairs = 0;  ///< (head, row, key) triples that the mask lets through
  int64_t kept_pairs = 0;     ///< of these, attended to
  /// Query rows × KV heads computed densely because their queries or keys held a NaN or an
  /// infinity.
  int64_t nonfinite_rows = 0;
  /// Query rows × KV heads computed densely because the estimate is too rough for attn_error.
  int64_t unpromised_rows = 0;
  /// Query rows × KV heads computed densely because that was predicted to be faster than what
  /// attn_error needs, or the profile said so.
  int64_t dense_rows = 0;
  /// Sum over (query head, row) pairs of the mass estimated to be lost, and their number.
  double estimated_lost = 0.0;
  int64_t estimated_rows = 0;
  std::vector<RowSample> samples;
  /// Relative error of the whole output that the estimate predicts of lists by output_error, in
  /// quadrature: sqrt(Σ |error|² / Σ |output|²).
  double predicted_error = 0.0;
  int64_t pilot_ns = 0;  ///< quantising included
  int64_t select_ns = 0;
  int64_t attend_ns = 0;
  int64_t sample_ns = 0;      ///< comparing with exact attention
  int64_t wall_ns = 0;        ///< of the whole call, as the caller sees it
  int64_t scratch_bytes = 0;  ///< memory that the engine holds after the call
  DeviceReport device;
};

/// Holds threads, scratch memory and the kernels chosen. Moving is cheap. One call at a time per
/// engine; different engines are independent. Scratch grows to what the largest call needed and
/// holds nothing of size n_q × n_kv.
class Engine {
 public:
  /// Checks the options and picks kernels. `executor`, when given, runs the tiles and must outlive
  /// the engine. `device`, when given, is used instead of starting the one of the options.
  static Result<Engine> create(const EngineOptions& options, Executor* executor = nullptr,
                               std::unique_ptr<Device> device = nullptr);

  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  const EngineOptions& options() const;
  /// Features that the chosen kernels may use.
  CpuFeatures features() const;

  /// Computes call.output. On error nothing useful is in the output and the message says why.
  /// `report` may be null. The result does not depend on the number of threads.
  Status attend(const AttentionCall& call, CallReport* report = nullptr);

  /// Where calls record their stages from now on; null: nowhere. Must outlive the calls.
  void set_trace(Trace* trace);

  /// Ok when `attend` can take operands of these shapes and types; reads no data, so it may be
  /// asked before memory is allocated (null data pointers are fine).
  static Status supports(const AttentionCall& call);

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shadowattn
