#include "attend/attend_lists16.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attend/biased_rows.h"
#include "attend/row_state.h"

namespace shadowattn {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504F;
constexpr float kLn2 = 0.693147181F;

RowSource source(const TensorView& view, int64_t head) {
  return {view.row(head, 0), view.type, view.row_stride};
}

/// One pass that the compiler vectorises: x · 0 is NaN exactly for x infinite or NaN.
bool all_finite(const float* x, int64_t count) {
  constexpr int64_t kLanes = 16;
  float sums[kLanes] = {};
  for (int64_t i = 0; i < count; i += kLanes) {  // value dims are multiples of 16
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane] * 0.0F;
  }
  float sum = 0.0F;
  for (const float s : sums) sum += s;
  return sum == 0.0F;
}

}  // namespace

void ListAttender16::reserve(int64_t max_rows, int64_t dim, int64_t value_dim,
                             const Visibility& visibility) {
  seen_.reserve(max_rows, visibility.end() - visibility.begin(), visibility);
  query_.reserve(max_rows * dim);
  query_step_.reserve(max_rows);
  key_.reserve(kAttendBlock * dim / 2);
  key_step_.reserve(kAttendBlock);
  value_.reserve(kAttendBlock / 2 * value_dim);
  words_.reserve(max_rows);
  if (visibility.any_biased()) bias_.reserve(max_rows * kAttendBlock);
  weights_.reserve(kAttend16Weights);
  max_.reserve(max_rows);
  sum_.reserve(max_rows * kAttend16Lanes);
  out_.reserve(max_rows * value_dim);
}

int64_t ListAttender16::scratch_bytes() const {
  return query_.bytes() + query_step_.bytes() + key_.bytes() + key_step_.bytes() + value_.bytes() +
         seen_.scratch_bytes() + words_.bytes() + bias_.bytes() + weights_.bytes() + max_.bytes() +
         sum_.bytes() + out_.bytes();
}

bool ListAttender16::start(const AttentionCall& call, const Group& group,
                           const Attend16Kernel& kernel) {
  const ListRows& rows = group.rows;
  const int64_t dim = call.query.dim;
  for (int64_t i = 0; i < rows.count(); ++i) {
    const auto* q = static_cast<const float*>(call.query.row(rows.head(i), rows.row(i)));
    if (!kernel.pack_query(q, dim, call.scale * kLog2E, query_.data() + (group.first + i) * dim,
                           query_step_.data() + group.first + i)) {
      return false;
    }
  }
  std::fill_n(max_.data() + group.first, rows.count(), kMinusInfinity);
  std::fill_n(sum_.data() + group.first * kAttend16Lanes, rows.count() * kAttend16Lanes, 0.0F);
  std::fill_n(out_.data() + group.first * call.value.dim, rows.count() * call.value.dim, 0.0F);
  return true;
}

bool ListAttender16::fill_bias(const Visibility& visibility, const Group& group,
                               const TokenList& run) {
  float* biases = bias_.data() + group.first * kAttendBlock;
  std::fill_n(biases, group.rows.count() * kAttendBlock, 0.0F);
  bool exact = true;
  for_each_biased_row(visibility, group.rows, run,
                      [&](int64_t i, const float* values, float slope) {
                        for (int64_t j = 0; j < run.count; ++j) {
                          const float natural = Visibility::scaled_bias(values[j], slope);
                          const float bias = natural * kLog2E;
                          biases[i * kAttendBlock + j] = bias;
                          // The lowest float is not hidden; in log2 units it would be.
                          exact = exact && std::isinf(bias) == std::isinf(natural);
                        }
                      });
  return exact;
}

bool ListAttender16::attend_block(const AttentionCall& call, const Visibility& visibility,
                                  const Group& group, const TokenList& run, int64_t position,
                                  const Attend16Kernel& kernel) {
  uint64_t* words = words_.data() + group.first;
  const BlockView view =
      seen_.view(position, run.count, group.first, group.rows.count(), words, &pairs_);
  if (view == BlockView::kNone) return true;
  if (!kernel.pack_keys(source(call.key, group.kv_head), run.keys, run.first, run.count,
                        call.key.dim, key_.data(), key_step_.data())) {
    return false;
  }
  kernel.pack_values(source(call.value, group.kv_head), run.keys, run.first, run.count,
                     call.value.dim, value_.data());
  if (biased_ && !fill_bias(visibility, group, run)) return false;
  Attend16Block block;
  block.query = query_.data() + group.first * call.key.dim;
  block.query_step = query_step_.data() + group.first;
  block.key = key_.data();
  block.key_step = key_step_.data();
  block.value = value_.data();
  block.rows = group.rows.count();
  block.keys = run.count;
  block.dim = call.key.dim;
  block.value_dim = call.value.dim;
  block.visible = view == BlockView::kPartial ? words : nullptr;
  block.bias = biased_ ? bias_.data() + group.first * kAttendBlock : nullptr;
  block.logit_softcap = call.logit_softcap * kLog2E;
  block.max = max_.data() + group.first;
  block.sum = sum_.data() + group.first * kAttend16Lanes;
  block.out = out_.data() + group.first * call.value.dim;
  block.weights = weights_.data();
  kernel.block(block);
  return true;
}

void ListAttender16::finish(const AttentionCall& call, const Group& group, float* states,
                            const FarField* far) {
  const int64_t value_dim = call.value.dim;
  for (int64_t i = 0; i < group.rows.count(); ++i) {
    const int64_t at = group.first + i;
    RowState state{max_.data()[at] * kLn2, 0.0F, out_.data() + at * value_dim};
    for (int64_t lane = 0; lane < kAttend16Lanes; ++lane) {
      state.sum += sum_.data()[at * kAttend16Lanes + lane];
    }
    if (far != nullptr) far->add(at, value_dim, &state.sum, out_.data() + at * value_dim);
    if (states != nullptr) {
      store_state(state, value_dim, states + at * state_floats(value_dim));
    } else {
      finish_row(call, group.rows.head(i), group.rows.row(i), state);
    }
  }
}

bool ListAttender16::attend(const AttentionCall& call, const Visibility& visibility,
                            int64_t kv_head, std::span<const ListRows> groups,
                            const TokenList& list, const Attend16Kernel& kernel, int64_t* pairs,
                            float* states, const FarField* far) {
  biased_ = false;
  pairs_ = 0;
  seen_.start(visibility, list);
  int64_t rows = 0;
  const auto for_each_group = [&](const auto& step) {
    int64_t first = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
      if (!step(Group{groups[g], first, kv_head + static_cast<int64_t>(g)})) return false;
      first += groups[g].count();
    }
    rows = first;
    return true;
  };
  if (!for_each_group([&](const Group& group) {
        seen_.add(group.rows);
        const ListRows& rows_of = group.rows;
        for (int64_t i = 0; i < rows_of.count(); ++i) {
          biased_ = biased_ || visibility.row(rows_of.head(i), rows_of.row(i)).biased;
        }
        return start(call, group, kernel);
      })) {
    return false;
  }
  for (int64_t first = 0; first < list.count; first += kAttendBlock) {
    const TokenList run = list.part(first, std::min(kAttendBlock, list.count - first));
    if (!for_each_group([&](const Group& group) {
          return attend_block(call, visibility, group, run, first, kernel);
        })) {
      return false;
    }
  }
  if (!all_finite(out_.data(), rows * call.value.dim)) return false;
  for_each_group([&](const Group& group) {
    finish(call, group, states, far);
    return true;
  });
  *pairs += pairs_;
  return true;
}

}  // namespace shadowattn
