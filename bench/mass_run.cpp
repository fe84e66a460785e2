#include "mass_run.h"

#include <algorithm>

#include "common/failure.h"
#include "common/interrupt.h"
#include "measure/recall_score.h"
#include "plan/visibility.h"

namespace shadowattn::bench {
namespace {

using tool::Failure;
using tool::measure::RowReference;
using tool::measure::TopKQuality;

/// Exact references of the rows of one run.
class RunReference {
 public:
  RunReference(const HeadOperands& operands, RowRange rows, Executor& executor)
      : operands_(operands), rows_(rows) {
    std::vector<std::vector<RowReference>> found(static_cast<size_t>(operands.heads * rows.count));
    executor.run(static_cast<int64_t>(found.size()), [&](int64_t i, int /*thread*/) {
      found[static_cast<size_t>(i)].emplace_back(
          logits(i / rows.count, rows.first + i % rows.count));
    });
    for (auto& one : found) references_.push_back(std::move(one.front()));
  }

  const RowReference& at(int64_t head, int64_t row) const {
    return references_[static_cast<size_t>(head * rows_.count + row - rows_.first)];
  }

 private:
  std::vector<double> logits(int64_t head, int64_t row) const {
    const std::span<const float> query = operands_.query_row(head, row);
    const KeyRange& seen = operands_.seen[static_cast<size_t>(row)];
    std::vector<double> values;
    for (int64_t j = seen.begin; j < seen.end; ++j) {
      const float* key = operands_.key.data() + j * operands_.dim;
      double sum = 0;
      for (size_t d = 0; d < query.size(); ++d) sum += double{query[d]} * key[d];
      values.push_back(operands_.scale * sum);
    }
    return values;
  }

  const HeadOperands& operands_;
  RowRange rows_;
  std::vector<RowReference> references_;  // [heads][rows]
};

/// All configurations on one run of rows of one KV head.
class HeadRun {
 public:
  HeadRun(const HeadOperands& operands, RowRange rows, const RunReference& reference,
          const MassOptions& options, size_t first_head)
      : operands_(operands),
        rows_(rows),
        reference_(reference),
        options_(options),
        first_head_(first_head) {}

  void run(const VariantScores& scores, std::span<MassResult> results) const {
    std::vector<float> logits(static_cast<size_t>(operands_.heads * rows_.count * operands_.keys));
    for (int64_t h = 0; h < operands_.heads; ++h) {
      for (int64_t i = 0; i < rows_.count; ++i) {
        scores.estimate(h, rows_.first + i, row_of(logits, h, i));
      }
    }
    for (MassResult& result : results) {
      const int64_t heads = result.lists.share_heads ? operands_.heads : 1;
      for (int64_t h = 0; h < operands_.heads; h += heads) {
        for (int64_t i = 0; i < rows_.count; i += result.lists.rows_per_list) {
          ListRows list;
          list.rows = {i, std::min<int64_t>(result.lists.rows_per_list, rows_.count - i)};
          list.first_head = h;
          list.heads = heads;
          add_list(list, logits, &result);
        }
      }
    }
  }

 private:
  std::span<float> row_of(std::vector<float>& logits, int64_t head, int64_t index) const {
    return std::span<float>(logits).subspan(
        static_cast<size_t>((head * rows_.count + index) * operands_.keys),
        static_cast<size_t>(operands_.keys));
  }

  void add_list(const ListRows& rows, std::vector<float>& logits, MassResult* result) const {
    ListEstimate list;
    for (int64_t i = 0; i < rows.count(); ++i) {
      list.logits.emplace_back(row_of(logits, rows.head(i), rows.row(i)));
      list.seen.push_back(operands_.seen[static_cast<size_t>(rows_.first + rows.row(i))]);
    }
    const KeyRange range = list.range();
    const std::vector<float> ranks = rank_keys(list, options_.forced);
    for (size_t k = 0; k < options_.keeps.size(); ++k) {
      const std::vector<float> weight =
          choose_keys(ranks, list_length(options_.keeps[k], range, options_.forced));
      for (int64_t i = 0; i < rows.count(); ++i) {
        const KeyRange& seen = list.seen[static_cast<size_t>(i)];
        const TopKQuality quality = reference_.at(rows.head(i), rows_.first + rows.row(i))
                                        .quality_of(std::span<const float>(weight).subspan(
                                            static_cast<size_t>(seen.begin - range.begin),
                                            static_cast<size_t>(seen.end - seen.begin)));
        MassResult::AtKeep& at = result->keeps[k];
        const size_t head = first_head_ + static_cast<size_t>(rows.head(i));
        at.mass[head].push_back(quality.mass);
        at.gap[head].push_back(std::max(quality.oracle_mass - quality.mass, 0.0));
        at.recall[head].push_back(quality.recall);
      }
    }
  }

  const HeadOperands& operands_;
  RowRange rows_;
  const RunReference& reference_;
  const MassOptions& options_;
  size_t first_head_;
};

/// Runs of rows spread evenly, the last one at the end, where rows see most.
std::vector<RowRange> runs_of(int64_t rows, int wanted) {
  const int64_t whole = std::max<int64_t>(rows / kRunRows, 1);
  const int64_t count = std::min<int64_t>(wanted, whole);
  std::vector<RowRange> runs;
  for (int64_t i = 1; i <= count; ++i) {
    const int64_t first = std::max<int64_t>(rows - kRunRows * (whole - whole * i / count + 1), 0);
    runs.push_back({first, std::min(kRunRows, rows - first)});
  }
  return runs;
}

void add_kv_head(const HeadOperands& recorded, OperandCase which,
                 const std::vector<MassConfig>& configs, const MassOptions& options,
                 Executor& executor, std::vector<MassResult>* results) {
  HeadOperands changed = recorded;
  apply_case(which, &changed);
  const size_t first_head = results->front().keeps.front().mass.size();
  std::vector<size_t> first_result;
  size_t count = 0;
  for (const MassConfig& config : configs) {
    first_result.push_back(count);
    count += config.lists.size();
  }
  for (MassResult& result : *results) {
    for (MassResult::AtKeep& at : result.keeps) {
      for (auto* values : {&at.mass, &at.gap, &at.recall}) {
        values->resize(first_head + static_cast<size_t>(recorded.heads));
      }
    }
  }
  for (const RowRange rows : runs_of(recorded.rows, options.runs)) {
    const RunReference reference(recorded, rows, executor);
    const HeadRun run(changed, rows, reference, options, first_head);
    executor.run(static_cast<int64_t>(configs.size()), [&](int64_t index, int /*thread*/) {
      if (tool::interrupted()) return;
      const auto i = static_cast<size_t>(index);
      const VariantScores scores(changed, configs[i].variant);
      run.run(scores, std::span(*results).subspan(first_result[i], configs[i].lists.size()));
    });
    if (tool::interrupted()) throw Failure("interrupted", tool::interrupted_status());
  }
}

}  // namespace

std::vector<MassConfig> estimate_configs() {
  constexpr auto kTensor = ScaleScope::kTensor;
  constexpr auto kRow = ScaleScope::kRow;
  const std::vector<ListShape> own = {{false, 1, false}};
  std::vector<MassConfig> configs = {{ScoreVariant(), own}};
  const auto add = [&](ScoreFormat format, ScaleScope key, ScaleScope query) {
    ScoreVariant variant;
    variant.format = format;
    variant.key_scales = key;
    variant.query_scales = query;
    for (int change = 0; change < 6; ++change) {
      variant.center_keys = change % 2 == 1;
      variant.rotate = change / 2 == 1;
      variant.equalise = change / 2 == 2;
      configs.push_back({variant, own});
    }
  };
  for (const ScaleScope key : {kTensor, ScaleScope::kBlock, kRow}) {
    for (const ScaleScope query : {kTensor, kRow}) add(ScoreFormat::kInt32, key, query);
  }
  add(ScoreFormat::kInt16, kRow, kRow);
  add(ScoreFormat::kInt16, kTensor, kRow);
  add(ScoreFormat::kInt8, kTensor, kRow);
  add(ScoreFormat::kInt8, kTensor, kTensor);
  return configs;
}

std::vector<MassConfig> list_configs() {
  std::vector<ListShape> shapes;
  for (const bool share_heads : {false, true}) {
    for (int32_t rows = 1; rows <= kRunRows; rows *= 2)
      shapes.push_back({false, rows, share_heads});
  }
  ScoreVariant rows;
  rows.format = ScoreFormat::kInt32;
  ScoreVariant device;
  device.format = ScoreFormat::kInt8;
  device.key_scales = ScaleScope::kTensor;
  device.center_keys = true;
  return {{ScoreVariant(), shapes}, {rows, shapes}, {device, shapes}};
}

std::vector<MassResult> empty_results(const std::vector<MassConfig>& configs,
                                      const MassOptions& options) {
  std::vector<MassResult> results;
  for (const MassConfig& config : configs) {
    for (const ListShape& lists : config.lists) {
      MassResult result;
      result.variant = config.variant;
      result.lists = lists;
      result.keeps.resize(options.keeps.size());
      results.push_back(std::move(result));
    }
  }
  return results;
}

void add_call(const AttentionCall& call, OperandCase which, const std::vector<MassConfig>& configs,
              const MassOptions& options, Executor& executor, std::vector<MassResult>* results) {
  const Visibility visibility(call, executor);
  for (int64_t head = 0; head < call.key.heads; ++head) {
    add_kv_head(load_operands(call, visibility, head), which, configs, options, executor, results);
  }
}

}  // namespace shadowattn::bench
