// One unit of work: the query heads of one KV head × a run of query rows, through pilot, select and
// attend. Every stage's scratch of one thread lives here.
#pragma once

#include <span>
#include <vector>

#include "attend/attend_lists.h"
#include "attend/attend_lists16.h"
#include "attend/row_sampler.h"
#include "device/device_scores.h"
#include "pilot/pilot.h"
#include "plan/call_context.h"
#include "select/page_keeper.h"
#include "select/token_lists.h"
#include "select/visible_keys.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// Counters of one thread, summed into the CallReport.
struct TileCounters {
  int64_t lists = 0;
  int64_t nonfinite_rows = 0;
  int64_t unpromised_rows = 0;
  int64_t kept_pairs = 0;
  double estimated_lost = 0.0;
  int64_t estimated_rows = 0;
  int64_t sample_ns = 0;
  int64_t pilot_ns = 0;
  int64_t select_ns = 0;
  int64_t attend_ns = 0;
};

class Stopwatch;

/// What tiles of an ErrorLists call need beside its context; read-only and shared by all threads.
struct ErrorCall {
  const ValuePages& values;
  double output_error = 0.0;  ///< EngineOptions::output_error
  double energy = 0.0;        ///< mean squared length of an output row of the layer
  double dense_share = 1.0;   ///< lists that would keep more than this keep all
};

/// What came of one list.
struct ErrorTile {
  double energy = 0.0;   ///< Σ over rows of the squared length of the output, where finite
  int64_t rows = 0;      ///< these
  double change = 0.0;   ///< predicted Σ over rows of the squared error of the output
  int64_t kept = 0;      ///< keys that the estimate kept
  int64_t seen = 0;      ///< of these
};

class TileWorker {
 public:
  /// `lane`: of the thread, in traces.
  explicit TileWorker(int32_t lane = 0) : lane_(lane) {}

  /// Grows the scratch for any tile of the plan, so that `run` and `run_dense` allocate nothing.
  /// Throws std::bad_alloc.
  void reserve(const CallContext& context);

  /// Computes the output rows of one tile and KV head.
  void run(const CallContext& context, const QueryTile& tile, int64_t kv_head);

  /// How many keys the lists of one tile keep, and how many they are chosen from, added to *kept
  /// and *visible; computes no output. False when queries hold a NaN or an infinity.
  bool count_kept(const CallContext& context, const QueryTile& tile, int64_t kv_head, int64_t* kept,
                  int64_t* visible);

  /// The same with the estimate of a device.
  void run_estimated(const CallContext& context, const QueryTile& tile, int64_t kv_head,
                     const DeviceScores& scores);

  /// The same from every key that a row may see.
  void run_dense(const CallContext& context, const QueryTile& tile, int64_t kv_head);

  /// The output rows of one head (`list` is of one) from the keys that change it, the others as
  /// page means.
  ErrorTile run_error(const CallContext& context, const ErrorCall& error, const ListRows& list);
  /// The same rows from every key.
  ErrorTile run_error_dense(const CallContext& context, const ListRows& list);
  /// Grows the scratch for both: lists of up to `rows` rows.
  void reserve_error(const CallContext& context, int64_t rows);

  /// A part of the work of run_dense for all KV heads: keys [begin, end) only. Writes the rows'
  /// states (attend/row_state.h), KV head after KV head, instead of the output.
  void run_part(const CallContext& context, const QueryTile& tile, int64_t begin, int64_t end,
                float* states);

  int64_t scratch_bytes() const;

  TileCounters counters;
  std::vector<RowSample> samples;

  /// Empties both.
  void forget() {
    counters = {};
    samples.clear();
  }

 private:
  void make_lists(const CallContext& context, const QueryTile& tile, int64_t kv_head);
  /// run_dense for a tile whose queries or keys hold no estimate.
  void run_without_estimate(const CallContext& context, const QueryTile& tile, int64_t kv_head);
  /// step(list, ranks of its keys) for every list of a tile, by the CPU's estimate; false when
  /// queries hold a NaN or an infinity.
  template <typename Step>
  bool for_each_list(const CallContext& context, const QueryTile& tile, int64_t kv_head,
                     Stopwatch& watch, const Step& step);
  TokenList choose_tokens(const CallContext& context, int64_t kv_head, const ListRows& list,
                          const KeyRanks& ranks, double error_variance);
  /// From the ranks of a list's keys to its output.
  void finish_list(const CallContext& context, int64_t kv_head, const ListRows& list,
                   const KeyRanks& ranks, double error_variance, Stopwatch& watch);
  /// `energy`: mean squared length of an output row; 0: errors of the output are not measured.
  void sample(const CallContext& context, const ListRows& list, const TokenList& tokens,
              double estimated_lost, double energy = 0.0);
  void attend(const CallContext& context, int64_t kv_head, std::span<const ListRows> groups,
              const TokenList& list, float* states, const FarField* far = nullptr);
  void attend_all(const CallContext& context, const ListRows& list);
  /// attend() to every key of `within` that some row of the tile sees.
  void attend_visible(const CallContext& context, const QueryTile& tile, int64_t kv_head,
                      std::span<const ListRows> groups, KeyRange within, float* states);

  int32_t lane_;
  std::vector<ListRows> lists_;
  TileEstimate estimate_;
  DeviceEstimate device_estimate_;
  TokenSelector selector_;
  PageKeeper keeper_;
  RowSampler sampler_;
  ListAttender attender_;
  VisibleKeys visible_keys_;
  ListAttender16 attender16_;
};

}  // namespace shadowattn
