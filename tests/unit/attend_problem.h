// Drives the attend kernels over a whole problem, as src/attend does, and checks the result.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/attend/attend.h"
#include "random_tensor.h"
#include "reference.h"

namespace shadowattn::test {

enum class Bias { kNone, kHalfHidden, kRandom, kSomeRowsHidden };

struct AttendCase {
  std::string label;
  int64_t rows;
  int64_t keys;
  int64_t dim;
  int64_t value_dim;
  Bias bias = Bias::kNone;
  float softcap = 0.0F;
  Content content = Content::kNormal;
  ElementType type = ElementType::kF32;  // of keys and values
  Layout layout = Layout::kDense;
};

/// Every remainder of every loop, all layouts, ordinary and nasty contents.
inline std::vector<AttendCase> attend_cases() {
  constexpr ElementType kF16 = ElementType::kF16;
  return {
      {"1row_1key", 1, 1, 16, 16},
      {"8rows_7keys", 8, 7, 32, 48},
      {"16rows_64keys", 16, 64, 64, 64},
      {"33rows_65keys", 33, 65, 80, 112},
      {"56rows_300keys", 56, 300, 64, 64},
      {"100rows_130keys", 100, 130, 128, 256},
      {"5rows_dim256", 5, 50, 256, 16},
      {"hidden_keys", 17, 200, 64, 80, Bias::kHalfHidden},
      {"biased_keys", 24, 130, 48, 64, Bias::kRandom},
      {"rows_that_see_nothing", 20, 90, 32, 32, Bias::kSomeRowsHidden},
      {"softcap", 9, 100, 64, 64, Bias::kNone, 30.0F},
      {"softcap_hidden_peaky", 9, 100, 64, 64, Bias::kHalfHidden, 5.0F, Content::kPeaky},
      {"peaky", 12, 333, 64, 96, Bias::kNone, 0.0F, Content::kPeaky},
      {"outliers", 12, 99, 96, 64, Bias::kNone, 0.0F, Content::kOutliers},
      {"f16_dense", 10, 129, 64, 64, Bias::kNone, 0.0F, Content::kNormal, kF16},
      {"f16_rows_first", 10, 70, 48, 32, Bias::kRandom, 0.0F, Content::kPeaky, kF16,
       Layout::kRowsFirst},
      {"f16_misaligned", 3, 70, 48, 32, Bias::kNone, 0.0F, Content::kPeaky, kF16,
       Layout::kMisaligned},
      {"gaps", 6, 70, 48, 32, Bias::kNone, 0.0F, Content::kNormal, ElementType::kF32,
       Layout::kGaps},
      {"misaligned", 6, 70, 48, 32, Bias::kNone, 0.0F, Content::kNormal, ElementType::kF32,
       Layout::kMisaligned},
      {"reversed", 6, 70, 48, 32, Bias::kNone, 0.0F, Content::kNormal, ElementType::kF32,
       Layout::kReversed},
  };
}

/// One head, its mask as a tensor, and the kernel's own state; head 1 of two is the one that is
/// used, so that a wrong stride shows.
struct AttendProblem {
  static constexpr int64_t kHead = 1;

  explicit AttendProblem(const AttendCase& c)
      : query(ElementType::kF32, 2, c.rows, c.dim),
        key(c.type, 2, c.keys, c.dim, c.layout),
        value(c.type, 2, c.keys, c.value_dim, c.layout),
        mask(ElementType::kF32, 1, c.rows, c.keys) {
    query.fill_random(1);
    key.fill_random(2, c.content);
    value.fill_random(3, c.content);
    Random random(4);
    mask.for_each([&](int64_t, int64_t row, int64_t) {
      if (c.bias == Bias::kHalfHidden && random.chance(0.5)) return -kInfinity;
      if (c.bias == Bias::kSomeRowsHidden && row % 3 == 1) return -kInfinity;
      return c.bias == Bias::kRandom ? 3.0 * random.normal() : 0.0;
    });
    call.query = query.view();
    call.key = key.view();
    call.value = value.view();
    call.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.dim)));
    call.logit_softcap = c.softcap;
    if (c.bias != Bias::kNone) {
      call.mask.kind = MaskKind::kAdditive;
      call.mask.additive = mask.view();
    }
  }

  RowSource source(const TensorView& view) const {
    return {view.row(kHead, 0), view.type, view.row_stride};
  }
  float bias(int64_t row, int64_t j) const {
    return static_cast<float>(reference_bias(call, kHead, row, j));
  }
  float scaled_query(int64_t row, int64_t d) const {
    return element(call.query, kHead, row, d) * call.scale;
  }

  Tensor query;
  Tensor key;
  Tensor value;
  Tensor mask;
  AttentionCall call;
};

/// Normalised output rows [rows][value_dim].
using Output = std::vector<float>;

/// Through gather and tile_block, `step` keys at a time.
inline Output run_tiles(const AttendKernel& kernel, const AttendProblem& p, int64_t step) {
  const AttentionCall& call = p.call;
  const int64_t dim = call.key.dim;
  const int64_t value_dim = call.value.dim;
  const int64_t multiple = kernel.row_multiple;
  const int64_t rows = (call.query.rows + multiple - 1) / multiple * multiple;
  std::vector<float> query(static_cast<size_t>(dim * rows), 0.0F);
  for (int64_t r = 0; r < call.query.rows; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      query[static_cast<size_t>(d * rows + r)] = p.scaled_query(r, d);
    }
  }
  std::vector<float> max(static_cast<size_t>(rows), -std::numeric_limits<float>::infinity());
  std::vector<float> sum(static_cast<size_t>(rows), 0.0F);
  Output out(static_cast<size_t>(rows * value_dim), 0.0F);
  std::vector<float> logits(static_cast<size_t>(kAttendBlock * rows));
  for (int64_t first = 0; first < call.key.rows; first += step) {
    const int64_t keys = std::min(step, call.key.rows - first);
    const int64_t padded = (keys + kAttendKeyPadding - 1) / kAttendKeyPadding * kAttendKeyPadding;
    std::vector<float> key(static_cast<size_t>(padded * dim));
    std::vector<float> value(static_cast<size_t>(padded * value_dim));
    std::vector<float> bias(static_cast<size_t>(keys * rows), 0.0F);
    for (int64_t j = 0; j < keys; ++j) {
      for (int64_t r = 0; r < call.query.rows; ++r) {
        bias[static_cast<size_t>(j * rows + r)] = p.bias(r, first + j);
      }
    }
    AttendBlock block;
    kernel.gather(p.source(call.key), nullptr, first, keys, dim, key.data());
    block.values_finite =
        kernel.gather(p.source(call.value), nullptr, first, keys, value_dim, value.data());
    block.query = query.data();
    block.key = key.data();
    block.value = value.data();
    block.bias = call.mask.kind == MaskKind::kNone ? nullptr : bias.data();
    block.rows = rows;
    block.keys = keys;
    block.dim = dim;
    block.value_dim = value_dim;
    block.logit_softcap = call.logit_softcap;
    block.logits = logits.data();
    block.max = max.data();
    block.sum = sum.data();
    block.out = out.data();
    kernel.tile_block(block);
  }
  for (int64_t i = 0; i < rows * value_dim; ++i) {
    const float s = sum[static_cast<size_t>(i / value_dim)];
    out[static_cast<size_t>(i)] *= s == 0.0F ? 0.0F : 1.0F / s;
  }
  return out;
}

/// Through row_list, `step` keys at a time.
inline Output run_rows(const AttendKernel& kernel, const AttendProblem& p, int64_t step) {
  const AttentionCall& call = p.call;
  const int64_t value_dim = call.value.dim;
  Output out(static_cast<size_t>(call.query.rows * value_dim), 0.0F);
  std::vector<float> query(static_cast<size_t>(call.query.dim));
  for (int64_t r = 0; r < call.query.rows; ++r) {
    for (int64_t d = 0; d < call.query.dim; ++d) {
      query[static_cast<size_t>(d)] = p.scaled_query(r, d);
    }
    float max = -std::numeric_limits<float>::infinity();
    float sum = 0.0F;
    AttendRow row;
    row.query = query.data();
    row.key = p.source(call.key);
    row.value = p.source(call.value);
    row.dim = call.query.dim;
    row.value_dim = value_dim;
    row.logit_softcap = call.logit_softcap;
    row.max = &max;
    row.sum = &sum;
    row.out = out.data() + r * value_dim;
    for (int64_t first = 0; first < call.key.rows; first += step) {
      row.keys = std::min(step, call.key.rows - first);
      std::vector<int32_t> index(static_cast<size_t>(row.keys));
      std::vector<float> bias(static_cast<size_t>(row.keys));
      std::iota(index.begin(), index.end(), static_cast<int32_t>(first));
      for (size_t j = 0; j < bias.size(); ++j) bias[j] = p.bias(r, index[j]);
      row.index = index.data();
      row.bias = call.mask.kind == MaskKind::kNone ? nullptr : bias.data();
      kernel.row_list(row);
    }
    for (int64_t d = 0; d < value_dim; ++d) row.out[d] *= sum == 0.0F ? 0.0F : 1.0F / sum;
  }
  return out;
}

/// NaN where the reference has NaN, and within ReferenceRow's tolerance elsewhere. `keep`: which
/// keys were given to the kernel; null: all.
inline void expect_reference(const AttendProblem& p, const Output& got,
                             const Arithmetic& arithmetic = {},
                             const ReferenceRow::Filter& keep = {}) {
  const AttentionCall& call = p.call;
  for (int64_t r = 0; r < call.query.rows; ++r) {
    const ReferenceRow reference(call, AttendProblem::kHead, r, keep, arithmetic);
    for (int64_t d = 0; d < call.value.dim; ++d) {
      const float value = got[static_cast<size_t>(r * call.value.dim + d)];
      if (reference.keys() == 0) {
        ASSERT_EQ(value, 0.0F) << "row " << r;
        continue;
      }
      const Bounded expected = reference.output(d);
      ASSERT_EQ(std::isnan(value), std::isnan(expected.value)) << "row " << r << " dim " << d;
      if (std::isnan(value)) continue;
      ASSERT_NEAR(value, expected.value, expected.tolerance) << "row " << r << " dim " << d;
    }
  }
}

}  // namespace shadowattn::test
