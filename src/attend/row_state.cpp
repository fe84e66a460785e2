#include "attend/row_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace shadowattn {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Whether the row saw no key there. Keys whose logits are all NaN leave no maximum, but a sum.
bool saw_nothing(const float* state) { return state[0] == kMinusInfinity && state[1] == 0.0F; }

/// a becomes the state over the keys of both; each is max, sum, out.
void combine(float* a, const float* b, int64_t value_dim) {
  if (saw_nothing(b)) return;
  if (saw_nothing(a)) {
    std::copy_n(b, state_floats(value_dim), a);
    return;
  }
  const float max = std::max(a[0], b[0]);
  const float a_factor = std::exp(a[0] - max);
  const float b_factor = std::exp(b[0] - max);
  a[0] = max;
  for (int64_t d = 1; d < state_floats(value_dim); ++d) a[d] = a[d] * a_factor + b[d] * b_factor;
}

}  // namespace

void store_state(const RowState& state, int64_t value_dim, float* buffer) {
  buffer[0] = state.max;
  buffer[1] = state.sum;
  std::copy_n(state.out, value_dim, buffer + 2);
}

void finish_row(const AttentionCall& call, int64_t head, int64_t row, const RowState& state) {
  float sum = state.sum;
  float factor = 1.0F;
  if (call.sink_logits != nullptr) {
    // A logit without a value: it only adds to the sum, which is relative to the row's maximum.
    const float sink = call.sink_logits[head];
    if (sink > state.max) {
      factor = std::exp(state.max - sink);
      sum = sum * factor + 1.0F;
    } else if (sink != kMinusInfinity) {  // -inf - -inf would be NaN
      sum += std::exp(sink - state.max);
    }
  }
  // Zero for a row that saw no key; a NaN sum gives NaN, as it should.
  factor = sum == 0.0F ? 0.0F : factor / sum;
  float* output = call.output.row(head, row);
  for (int64_t d = 0; d < call.value.dim; ++d) output[d] = state.out[d] * factor;
}

void finish_parts(const AttentionCall& call, const ListRows& rows, float* parts, int64_t count,
                  int64_t stride) {
  const int64_t row_floats = state_floats(call.value.dim);
  for (int64_t i = 0; i < rows.count(); ++i) {
    float* state = parts + i * row_floats;
    for (int64_t part = 1; part < count; ++part) {
      combine(state, state + part * stride, call.value.dim);
    }
    finish_row(call, rows.head(i), rows.row(i), {state[0], state[1], state + 2});
  }
}

}  // namespace shadowattn
