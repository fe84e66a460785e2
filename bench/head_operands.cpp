#include "head_operands.h"

#include <algorithm>
#include <cmath>

#include "common/failure.h"
#include "measure/tensor_element.h"

namespace shadowattn::bench {
namespace {

using tool::measure::element;

void append_row(const TensorView& view, int64_t head, int64_t row, std::vector<float>* values) {
  for (int64_t d = 0; d < view.dim; ++d) {
    values->push_back(static_cast<float>(element(view, head, row, d)));
  }
}

void scale_channels(HeadOperands* operands) {
  for (const int64_t channel : outlier_channels(operands->dim)) {
    for (size_t i = static_cast<size_t>(channel); i < operands->key.size();
         i += static_cast<size_t>(operands->dim)) {
      operands->key[i] *= kOutlierFactor;
    }
    for (size_t i = static_cast<size_t>(channel); i < operands->query.size();
         i += static_cast<size_t>(operands->dim)) {
      operands->query[i] /= kOutlierFactor;
    }
  }
}

void add_bias(HeadOperands* operands) {
  double squares = 0;
  for (const float x : operands->key) squares += double{x} * x;
  auto bias = static_cast<float>(kOutlierFactor *
                                 std::sqrt(squares / static_cast<double>(operands->key.size())));
  for (const int64_t channel : outlier_channels(operands->dim)) {
    for (size_t i = static_cast<size_t>(channel); i < operands->key.size();
         i += static_cast<size_t>(operands->dim)) {
      operands->key[i] += bias;
    }
    bias = -bias;
  }
}

std::vector<float> largest_by_channel(size_t width, std::span<const float> rows) {
  std::vector<float> largest(width, 0.0F);
  for (size_t i = 0; i < rows.size(); ++i) {
    largest[i % width] = std::max(largest[i % width], std::fabs(rows[i]));
  }
  return largest;
}

}  // namespace

HeadOperands load_operands(const AttentionCall& call, const Visibility& visibility,
                           int64_t kv_head) {
  if (call.logit_softcap > 0) throw tool::Failure("logits are capped");
  HeadOperands operands;
  operands.dim = call.key.dim;
  operands.keys = visibility.end() - visibility.begin();
  operands.heads = call.query.heads / call.key.heads;
  operands.rows = call.query.rows;
  operands.scale = call.scale;
  for (int64_t j = visibility.begin(); j < visibility.end(); ++j) {
    append_row(call.key, kv_head, j, &operands.key);
  }
  const int64_t first_head = kv_head * operands.heads;
  for (int64_t h = first_head; h < first_head + operands.heads; ++h) {
    if (!visibility.same_for(first_head, h)) throw tool::Failure("heads differ in their mask");
    for (int64_t r = 0; r < operands.rows; ++r) append_row(call.query, h, r, &operands.query);
  }
  for (int64_t r = 0; r < operands.rows; ++r) {
    const RowVisibility& row = visibility.row(first_head, r);
    if (!row.plain || row.visible == 0) throw tool::Failure("a row has no plain causal mask");
    operands.seen.push_back({row.begin - visibility.begin(), row.end - visibility.begin()});
  }
  return operands;
}

std::vector<int64_t> outlier_channels(int64_t dim) { return {dim / 8, dim / 2, dim - 3}; }

void apply_case(OperandCase which, HeadOperands* operands) {
  if (which == OperandCase::kLargeChannels || which == OperandCase::kBoth) {
    scale_channels(operands);
  }
  if (which == OperandCase::kKeyBias || which == OperandCase::kBoth) add_bias(operands);
}

void subtract_mean(int64_t dim, std::span<float> keys) {
  const auto width = static_cast<size_t>(dim);
  std::vector<double> mean(width, 0.0);
  for (size_t i = 0; i < keys.size(); ++i) mean[i % width] += keys[i];
  for (double& x : mean) x /= static_cast<double>(keys.size() / width);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] -= static_cast<float>(mean[i % width]);
}

void equalise(int64_t dim, std::span<float> queries, std::span<float> keys) {
  const auto width = static_cast<size_t>(dim);
  const std::vector<float> query = largest_by_channel(width, queries);
  std::vector<float> factor = largest_by_channel(width, keys);
  for (size_t d = 0; d < width; ++d) {
    factor[d] = query[d] > 0 && factor[d] > 0 ? std::sqrt(factor[d] / query[d]) : 1.0F;
  }
  for (size_t i = 0; i < queries.size(); ++i) queries[i] *= factor[i % width];
  for (size_t i = 0; i < keys.size(); ++i) keys[i] /= factor[i % width];
}

void rotate(int64_t dim, std::span<float> rows) {
  const auto width = static_cast<size_t>(dim & -dim);
  const float norm = 1.0F / std::sqrt(static_cast<float>(width));
  for (size_t first = 0; first < rows.size(); first += width) {
    float* x = rows.data() + first;
    for (size_t half = 1; half < width; half *= 2) {
      for (size_t i = 0; i < width; ++i) {
        if ((i & half) != 0) continue;
        const float sum = x[i] + x[i + half];
        x[i + half] = x[i] - x[i + half];
        x[i] = sum;
      }
    }
    for (size_t i = 0; i < width; ++i) x[i] *= norm;
  }
}

}  // namespace shadowattn::bench
