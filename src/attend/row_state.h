// What is left of a query row after its keys: the online softmax state, to be normalised or to be
// combined with the states of other keys.
#pragma once

#include <cstdint>

#include "plan/list_rows.h"
#include "shadowattn/attention.h"

namespace shadowattn {

/// m, l and o of kernels/attend/attend.h: o / l is the output. All zero but m = -inf when the row
/// saw no key.
struct RowState {
  float max = 0.0F;            ///< natural units
  float sum = 0.0F;            ///< of exp(s - max)
  const float* out = nullptr;  ///< [value_dim]
};

/// Floats that a row takes in a buffer of states: max, sum, out.
inline int64_t state_floats(int64_t value_dim) { return value_dim + 2; }

/// Writes the state to `buffer` (state_floats elements).
void store_state(const RowState& state, int64_t value_dim, float* buffer);

/// Adds the sink's logit and writes the normalised row to call.output; zero for a row without keys.
void finish_row(const AttentionCall& call, int64_t head, int64_t row, const RowState& state);

/// Combines `parts` buffers of states, `stride` floats apart, each of all `rows`, and finishes the
/// rows. The first part is overwritten. Parts are combined in order, so the result depends on how
/// keys were cut, not on who computed what.
void finish_parts(const AttentionCall& call, const ListRows& rows, float* parts, int64_t count,
                  int64_t stride);

}  // namespace shadowattn
