#include "measure/sampled_rows.h"

#include <cmath>
#include <iterator>

#include "measure/tensor_element.h"

namespace shadowattn::tool::measure {
namespace {

std::vector<double> row_of(const TensorView& view, int64_t head, int64_t row) {
  std::vector<double> values(static_cast<size_t>(view.dim));
  for (int64_t d = 0; d < view.dim; ++d) {
    values[static_cast<size_t>(d)] = element(view, head, row, d);
  }
  return values;
}

/// Logits of the keys that a row sees.
std::vector<double> logits_of(const AttentionCall& call, const std::vector<float>& keys,
                              int64_t head, int64_t row, const RowVisibility& seen) {
  const int64_t dim = call.key.dim;
  const std::vector<double> query = row_of(call.query, head, row);
  std::vector<double> logits(static_cast<size_t>(seen.end - seen.begin));
  for (int64_t j = seen.begin; j < seen.end; ++j) {
    const float* key = keys.data() + j * dim;
    double sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += query[static_cast<size_t>(d)] * key[d];
    sum *= call.scale;
    if (call.logit_softcap > 0) sum = call.logit_softcap * std::tanh(sum / call.logit_softcap);
    logits[static_cast<size_t>(j - seen.begin)] = sum;
  }
  return logits;
}

/// [n_kv][dim] of one KV head.
std::vector<float> keys_of(const AttentionCall& call, int64_t kv_head) {
  std::vector<float> keys;
  for (int64_t j = 0; j < call.key.rows; ++j) {
    for (int64_t d = 0; d < call.key.dim; ++d) {
      keys.push_back(static_cast<float>(element(call.key, kv_head, j, d)));
    }
  }
  return keys;
}

}  // namespace

std::vector<SampledRow> sample_rows(const AttentionCall& call, const Visibility& visibility,
                                    int64_t kv_head, int every, Executor& executor) {
  const int64_t group = call.query.heads / call.key.heads;
  const std::vector<float> keys = keys_of(call, kv_head);
  std::vector<std::vector<SampledRow>> found(
      static_cast<size_t>((call.query.rows + every - 1) / every));
  executor.run(static_cast<int64_t>(found.size()), [&](int64_t index, int /*thread*/) {
    // The last row is one of them: it sees most.
    const int64_t row = call.query.rows - 1 - index * every;
    for (int64_t h = 0; h < group; ++h) {
      const int64_t head = kv_head * group + h;
      const RowVisibility& seen = visibility.row(head, row);
      if (!seen.plain || seen.visible == 0) continue;
      found[static_cast<size_t>(index)].push_back(
          {h, row, seen, RowReference(logits_of(call, keys, head, row, seen))});
    }
  });
  std::vector<SampledRow> rows;
  for (std::vector<SampledRow>& some : found) {
    std::move(some.begin(), some.end(), std::back_inserter(rows));
  }
  return rows;
}

}  // namespace shadowattn::tool::measure
