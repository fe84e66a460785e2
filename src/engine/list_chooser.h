// Which lists each KV head of a call gets, and how much mass they may lose: from the options, the
// profile, what the engine has learnt of the layer, and, where it has not met the layer in a
// context of this length, from a look at some rows of the call.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/cost_probe.h"
#include "engine/layer_memory.h"
#include "engine/shadow_tile.h"
#include "plan/head_lists.h"
#include "plan/shape_choice.h"
#include "shadowattn/engine.h"

namespace shadowattn {

class ListChooser {
 public:
  explicit ListChooser(const EngineOptions& options) : options_(options) {}

  /// The lists of the options.
  ListShape wanted() const { return {false, options_.rows_per_list, options_.share_heads}; }

  /// One per KV head. `dense_rows`: query rows of a dense tile. Throws std::bad_alloc.
  std::vector<HeadLists> start(const AttentionCall& call, const Visibility& visibility,
                               int64_t dense_rows);

  struct Choice {
    ListShape lists;
    std::optional<double> kept;  ///< share of tokens that such lists kept; none of dense ones
  };

  /// Measures what `choose` will need for the call, on this thread.
  void prepare(const AttentionCall& call);

  /// Chooses the lists of a KV head that is open, whose keys are in context.keys: `worker` makes
  /// lists of every shape for some rows of the call, coarse ones first, as long as finer ones can
  /// still pay. For several heads at once, after `prepare`. None when a query holds a NaN or an
  /// infinity. Throws std::bad_alloc.
  std::optional<Choice> choose(const CallContext& context, int64_t kv_head, int64_t dense_rows,
                               TileWorker& worker) const;

  /// Takes note of a choice for the layer's next calls.
  void remember(const AttentionCall& call, const Visibility& visibility, int64_t kv_head,
                const Choice& choice);

  /// Learns from the samples of a call and, where a device estimated, what lists kept: then no
  /// rows are looked at beforehand.
  void learn(const AttentionCall& call, const Visibility& visibility, int64_t dense_rows,
             const CallReport& report);

  /// Measured when there are none yet for lists of this shape. Null when that fails.
  const CostModel* costs(const AttentionCall& call, const ListShape& lists);

 private:
  const CostModel* known_costs(const AttentionCall& call, const ListShape& lists) const;
  ListBudget budget(const LayerProfile* profile, int64_t kv_head, int64_t group_heads,
                    double strictness) const;

  struct KnownCosts {
    CostShape heads;
    ListShape lists;
    CostModel model;
  };

  const EngineOptions& options_;
  LayerMemory memory_;
  std::vector<KnownCosts> costs_;
};

}  // namespace shadowattn
