// Measures the gate's cost model: a few small calls of the engine itself, on one thread, some
// milliseconds in all.
#pragma once

#include "plan/cost_model.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// What the costs depend on beside the machine and the options.
struct CostShape {
  int64_t dim = 0;
  int64_t value_dim = 0;
  int64_t group_heads = 0;  ///< query heads per KV head
  ElementType key_type = ElementType::kF16;
  ElementType value_type = ElementType::kF16;

  bool operator==(const CostShape&) const = default;
};

/// Times dense and shadow calls of this shape with `options` (their gate and threads left out).
/// `dense`: costs of other lists of the same heads, whose dense costs are taken over; null: none
/// are known. Throws std::bad_alloc.
Result<CostModel> measure_costs(const EngineOptions& options, const CostShape& shape,
                                const CostModel* dense = nullptr);

/// The same for lists of `list_rows` rows of one head chosen by options.output_error: list_key and
/// list_kept are of one such list. Throws std::bad_alloc.
Result<CostModel> measure_error_costs(const EngineOptions& options, const CostShape& shape,
                                      int64_t list_rows);

}  // namespace shadowattn
