// Attention calls for the engine's tests: operands, masks as a KV cache makes them, checks.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "attend/attend_lists.h"
#include "kernels/attend16/attend16.h"
#include "plan/list_plan.h"
#include "random_tensor.h"
#include "reference.h"
#include "shadowattn/engine.h"

namespace shadowattn::test {

struct Shape {
  int64_t heads = 2;
  int64_t kv_heads = 1;
  int64_t rows = 5;
  int64_t keys = 40;
  int64_t dim = 32;
  int64_t value_dim = 32;
  ElementType type = ElementType::kF32;  ///< of keys and values
  Layout layout = Layout::kDense;        ///< of all operands and the output
  Content content = Content::kNormal;    ///< of keys
  uint64_t seed = 1;
};

/// What a KV cache knows of a cell or a row: which sequence, which position in it.
struct Token {
  int sequence = 0;  ///< -1: an empty cell
  int64_t position = 0;
};

/// Owns the operands of one call. `call` may be changed freely.
struct Problem {
  explicit Problem(const Shape& s)
      : shape(s),
        query(ElementType::kF32, s.heads, s.rows, s.dim, s.layout),
        key(s.type, s.kv_heads, s.keys, s.dim, s.layout),
        value(s.type, s.kv_heads, s.keys, s.value_dim, s.layout),
        output(ElementType::kF32, s.heads, s.rows, s.value_dim, s.layout) {
    query.fill_random(s.seed * 4 + 1);
    key.fill_random(s.seed * 4 + 2, s.content);
    value.fill_random(s.seed * 4 + 3);
    call.query = query.view();
    call.key = key.view();
    call.value = value.view();
    call.output = output.output();
    call.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.dim)));
  }

  void set_causal(int64_t offset) {
    call.mask.kind = MaskKind::kCausal;
    call.mask.causal_offset = offset;
  }

  using Bias = std::function<double(int64_t head, int64_t row, int64_t key)>;

  void set_mask(const Bias& bias, int64_t mask_heads = 1, ElementType type = ElementType::kF16,
                Layout layout = Layout::kDense) {
    mask = Tensor(type, mask_heads, shape.rows, shape.keys, layout);
    mask.for_each(bias);
    call.mask.kind = MaskKind::kAdditive;
    call.mask.additive = mask.view();
  }

  /// Row i sees the cells of its own sequence up to its own position, `window` of them at most.
  void set_cells(const std::vector<Token>& cells, const std::vector<Token>& rows,
                 int64_t window = int64_t{1} << 40) {
    set_mask([&](int64_t, int64_t i, int64_t j) {
      const Token& cell = cells[static_cast<size_t>(j)];
      const Token& row = rows[static_cast<size_t>(i)];
      const bool seen = cell.sequence == row.sequence && cell.position <= row.position &&
                        cell.position > row.position - window;
      return seen ? 0.0 : -kInfinity;
    });
  }

  void set_sinks(std::vector<float> logits) {
    sinks = std::move(logits);
    call.sink_logits = sinks.data();
  }

  /// ALiBi: the mask holds minus the distance, the slopes differ by head.
  void set_alibi(int64_t offset) {
    set_mask([&](int64_t, int64_t i, int64_t j) {
      return j <= i + offset ? -static_cast<double>(i + offset - j) : -kInfinity;
    });
    for (int64_t h = 0; h < shape.heads; ++h) {
      slopes.push_back(static_cast<float>(std::exp2(-static_cast<double>(h + 3))));
    }
    call.mask.slopes = slopes.data();
  }

  Shape shape;
  Tensor query;
  Tensor key;
  Tensor value;
  Tensor output;
  Tensor mask;
  std::vector<float> slopes;
  std::vector<float> sinks;
  AttentionCall call;
};

/// Two sequences whose cells interleave; the rows are the last tokens of both, `rows` in all, the
/// first half of sequence 0.
inline void set_interleaved(Problem& p) {
  const Shape& s = p.shape;
  std::vector<Token> cells;
  for (int64_t j = 0; j < s.keys; ++j) cells.push_back({static_cast<int>(j % 2), j / 2});
  std::vector<Token> rows;
  const int64_t half = (s.rows + 1) / 2;
  for (int64_t i = 0; i < s.rows; ++i) {
    const int sequence = i < half ? 0 : 1;
    const int64_t count = sequence == 0 ? half : s.rows - half;
    const int64_t length = (s.keys + 1 - sequence) / 2;
    rows.push_back({sequence, length - count + (i < half ? i : i - half)});
  }
  p.set_cells(cells, rows);
}

/// A context that was shifted: its middle was thrown away, and the new tokens lie in the hole that
/// starts at `hole`, before the cells of older tokens.
inline void set_shifted(Problem& p, int64_t hole, int64_t window = int64_t{1} << 40) {
  const Shape& s = p.shape;
  std::vector<Token> cells(static_cast<size_t>(s.keys));
  int64_t position = 0;
  for (int64_t j = 0; j < s.keys; ++j) {
    if (j < hole || j >= hole + s.rows) cells[static_cast<size_t>(j)] = {0, position++};
  }
  std::vector<Token> rows;
  for (int64_t i = 0; i < s.rows; ++i) {
    cells[static_cast<size_t>(hole + i)] = {0, position};
    rows.push_back({0, position++});
  }
  p.set_cells(cells, rows, window);
}

/// An engine that must exist. Its gate is off: what a call does must not depend on the machine.
/// Lists of as many keys as `keep` says.
inline EngineOptions fixed_keep(EngineOptions options) {
  options.attn_error = 0.0;
  return options;
}

/// Whatever the machine.
inline Engine make_mass_engine(EngineOptions options, Executor* executor = nullptr) {
  options.gate = false;
  Result<Engine> engine = Engine::create(options, executor);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return std::move(engine).value();
}

/// Lists of as many keys as `keep` says, whatever the machine.
inline Engine make_engine(const EngineOptions& options, Executor* executor = nullptr) {
  return make_mass_engine(fixed_keep(options), executor);
}

inline CallReport attend(Engine& engine, Problem& p) {
  p.output.fill(kNan);  // a row that is not written shows
  CallReport report;
  const Status status = engine.attend(p.call, &report);
  EXPECT_TRUE(status.ok()) << status.message();
  return report;
}

/// `keep`: which keys of a row take part, beside those that are hidden.
using Keep = std::function<bool(int64_t head, int64_t row, int64_t key)>;

/// One output row is within the derived tolerance of attention in double precision; NaN where that
/// is.
inline void expect_reference_row(const Problem& p, int64_t head, int64_t row,
                                 const Arithmetic& arithmetic, const Keep& keep = {}) {
  ReferenceRow::Filter filter;
  if (keep) filter = [&](int64_t j) { return keep(head, row, j); };
  const ReferenceRow reference(p.call, head, row, filter, arithmetic);
  for (int64_t d = 0; d < p.shape.value_dim; ++d) {
    const float got = element(p.call.output, head, row, d);
    if (reference.keys() == 0) {
      ASSERT_EQ(got, 0.0F) << "head " << head << " row " << row << " sees nothing";
      continue;
    }
    const Bounded expected = reference.output(d);
    ASSERT_EQ(std::isnan(got), std::isnan(expected.value))
        << "head " << head << " row " << row << " dim " << d;
    if (std::isnan(got)) continue;
    ASSERT_NEAR(got, expected.value, expected.tolerance)
        << "head " << head << " row " << row << " dim " << d;
  }
}

inline void expect_reference(const Problem& p, const Arithmetic& arithmetic,
                             const Keep& keep = {}) {
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) expect_reference_row(p, h, i, arithmetic, keep);
  }
}

/// The output's bits, in order.
inline std::vector<uint32_t> bits(const Problem& p) {
  std::vector<uint32_t> all;
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      for (int64_t d = 0; d < p.shape.value_dim; ++d) {
        all.push_back(std::bit_cast<uint32_t>(element(p.call.output, h, i, d)));
      }
    }
  }
  return all;
}

/// (head, row, key) triples that the mask lets through.
inline int64_t visible_pairs(const Problem& p) {
  int64_t count = 0;
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      for (int64_t j = 0; j < p.shape.keys; ++j) count += reference_sees(p.call, h, i, j) ? 1 : 0;
    }
  }
  return count;
}

/// How many rows share a list, and whether the heads of a group do.
struct Granularity {
  const char* label;
  int32_t rows;
  bool share;
};

inline constexpr Granularity kGranularities[] = {
    {"rows1", 1, false}, {"rows1_shared", 1, true}, {"rows4", 4, false}, {"rows8_shared", 8, true}};

/// An ISA level of this machine, and a precision that makes a difference there.
struct Variant {
  std::string name;
  std::string isa;
  Precision precision = Precision::kFast;
  bool fast = false;  ///< lists of more than kRowPathLimit rows are computed with 16-bit operands

  EngineOptions with(EngineOptions options) const {
    options.isa = isa;
    options.precision = precision;
    return options;
  }

  /// Of lists that have at most `rows` rows. Shorter ones are computed in f32, which is within the
  /// tolerance of the other arithmetic.
  Arithmetic of_lists(int64_t rows) const {
    return {.precision = fast && rows > kRowPathLimit ? Precision::kFast : Precision::kF32};
  }

  /// Of a dense call.
  Arithmetic of_dense(const AttentionCall& call) const {
    const int64_t group = call.query.heads / call.key.heads;
    const int64_t target = fast ? kWideTileTarget : kTileTarget;
    const std::unique_ptr<Executor> executor = make_thread_pool(1);
    const Visibility seen(call, *executor);
    const auto tiles = dense_tiles(seen, group, std::max<int64_t>(1, target / group));
    Arithmetic arithmetic = of_lists(call.query.rows * group);
    arithmetic.parts = dense_parts(std::ssize(tiles) * call.key.heads, seen.end() - seen.begin());
    return arithmetic;
  }

  friend void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }
};

/// The levels that this machine has; cpu_test.cpp shows the others as skipped.
inline std::vector<IsaLevel> levels_here() {
  std::vector<IsaLevel> levels;
  for (const IsaLevel& level : isa_levels()) {
    if (resolve_isa(level.name).ok()) levels.push_back(level);
  }
  return levels;
}

/// The default precision at every level, and f32 where that is another.
inline std::vector<Variant> variants_here() {
  std::vector<Variant> variants;
  for (const IsaLevel& level : isa_levels()) {
    if (!resolve_isa(level.name).ok()) continue;  // cpu_test.cpp shows it as skipped
    Variant variant = {std::string(level.name), std::string(level.name)};
    for (const Attend16Kernel& kernel : attend16_kernels()) {
      variant.fast = variant.fast || level.features.covers(kernel.needs);
    }
    variants.push_back(variant);
    if (!variant.fast) continue;
    variants.push_back({variant.name + "_f32", variant.isa, Precision::kF32, false});
  }
  return variants;
}

}  // namespace shadowattn::test
