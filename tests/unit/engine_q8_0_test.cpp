// The engine on q8_0 keys and values: the bits of the same numbers in f32, in every mode and on
// every instruction set, and attention in double precision.
#include <gtest/gtest.h>

#include <string>

#include "engine_problem.h"
#include "kernel_param.h"
#include "q8_0_tensor.h"

namespace shadowattn {
namespace {

using test::attend;
using test::Content;
using test::dequantized;
using test::element;
using test::Layout;
using test::make_engine;
using test::Problem;
using test::Q8Tensor;
using test::Shape;
using test::Tensor;

constexpr ElementType kF16 = ElementType::kF16;
constexpr ElementType kF32 = ElementType::kF32;

struct Q8Case {
  std::string label;
  Shape shape;  // `type` is that of the operand that is not q8_0
  bool key_q8 = true;
  bool value_q8 = true;
  void (*prepare)(Problem& p) = [](Problem&) {};
};

void causal(Problem& p) { p.set_causal(p.shape.keys - p.shape.rows); }

void random_mask(Problem& p) {
  test::Random random(6);
  p.set_mask([&](int64_t, int64_t, int64_t) {
    return random.chance(0.4) ? -test::kInfinity : 0.25 * random.normal();
  });
}

std::vector<Q8Case> cases() {
  std::vector<Q8Case> all = {
      {"one_key", {4, 2, 9, 1, 64, 64}},
      {"one_row", {7, 1, 1, 300, 64, 64}, true, true, causal},
      {"gqa7", {14, 2, 20, 230, 64, 64}, true, true, causal},
      {"odd_sizes", {6, 3, 37, 263, 96, 160}, true, true, causal},
      {"widest", {2, 1, 19, 150, 256, 32}, true, true, causal},
      {"outliers", {4, 2, 17, 150, 128, 128, kF16, Layout::kDense, Content::kOutliers}},
      {"random_mask", {4, 2, 17, 150, 32, 96}, true, true, random_mask},
      {"interleaved", {4, 2, 18, 150, 32, 96}, true, true, test::set_interleaved},
      {"key_with_f16", {4, 2, 17, 150, 32, 48, kF16}, true, false, causal},
      {"key_with_f32", {4, 2, 17, 150, 32, 48, kF32}, true, false, causal},
      {"value_with_f16", {4, 2, 17, 150, 48, 32, kF16}, false, true, causal},
      {"value_with_f32", {4, 2, 17, 150, 48, 32, kF32}, false, true, causal},
  };
  for (const Layout layout : test::kLayouts) {
    for (const int64_t rows : {2, 13}) {
      all.push_back({std::string(test::name(layout)) + "_" + std::to_string(rows) + "rows",
                     {4, 2, rows, 200, 64, 32, kF16, layout},
                     true,
                     true,
                     causal});
    }
  }
  return all;
}

/// A problem with q8_0 operands and its twin with the same numbers in f32.
struct Twins {
  explicit Twins(const Q8Case& c)
      : q8(c.shape),
        f32(c.shape),
        key(c.key_q8 ? Q8Tensor(q8.key.view(), c.shape.layout) : Q8Tensor(1, 1, 32)),
        value(c.value_q8 ? Q8Tensor(q8.value.view(), c.shape.layout) : Q8Tensor(1, 1, 32)),
        key_q8(c.key_q8),
        value_q8(c.value_q8) {
    c.prepare(q8);
    c.prepare(f32);
    update();
  }

  /// After a change of `key` or `value`.
  void update() {
    key_numbers = dequantized(key.view());
    value_numbers = dequantized(value.view());
    if (key_q8) q8.call.key = key.view();
    if (key_q8) f32.call.key = key_numbers.view();
    if (value_q8) q8.call.value = value.view();
    if (value_q8) f32.call.value = value_numbers.view();
  }

  Problem q8;
  Problem f32;
  Q8Tensor key;
  Q8Tensor value;
  Tensor key_numbers;
  Tensor value_numbers;
  bool key_q8;
  bool value_q8;
};

/// Same bits (or both NaN) and same counts.
CallReport expect_twins(Twins& twins, const EngineOptions& options) {
  Engine engine = make_engine(options);
  const CallReport report = attend(engine, twins.q8);
  const CallReport expected = attend(engine, twins.f32);
  EXPECT_EQ(report.kept_pairs, expected.kept_pairs);
  EXPECT_EQ(report.lists, expected.lists);
  EXPECT_EQ(report.nonfinite_rows, expected.nonfinite_rows);
  EXPECT_EQ(report.dense_reason, expected.dense_reason);
  const Shape& s = twins.q8.shape;
  for (int64_t h = 0; h < s.heads; ++h) {
    for (int64_t i = 0; i < s.rows; ++i) {
      for (int64_t d = 0; d < s.value_dim; ++d) {
        const float got = element(twins.q8.call.output, h, i, d);
        const float want = element(twins.f32.call.output, h, i, d);
        const bool same = std::isnan(want)
                              ? std::isnan(got)
                              : std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(want);
        EXPECT_TRUE(same) << got << " is not " << want << ", head " << h << " row " << i << " dim "
                          << d;
        if (!same) return report;
      }
    }
  }
  return report;
}

class Q8EngineTest : public testing::TestWithParam<test::KernelParam<IsaLevel, Q8Case>> {
 protected:
  std::string isa() const { return std::string(GetParam().kernel.name); }
};

TEST_P(Q8EngineTest, DenseMatchesReference) {
  Twins twins(GetParam().data);
  Engine engine =
      make_engine({.mode = Mode::kDense, .precision = Precision::kF32, .threads = 2, .isa = isa()});
  EXPECT_EQ(attend(engine, twins.q8).dense_reason, DenseReason::kRequested);
  expect_reference(twins.q8, {});
}

TEST_P(Q8EngineTest, DenseHasTheBitsOfF32) {
  Twins twins(GetParam().data);
  for (const Precision precision : {Precision::kF32, Precision::kFast}) {
    expect_twins(twins, {.mode = Mode::kDense, .precision = precision, .isa = isa()});
  }
}

TEST_P(Q8EngineTest, ShadowHasTheBitsOfF32) {
  Twins twins(GetParam().data);
  for (const test::Granularity& g : test::kGranularities) {
    for (const Precision precision : {Precision::kF32, Precision::kFast}) {
      const CallReport report = expect_twins(twins, {.keep = 0.2,
                                                     .keep_floor = 0,
                                                     .sink = 2,
                                                     .recent = 5,
                                                     .rows_per_list = g.rows,
                                                     .share_heads = g.share,
                                                     .precision = precision,
                                                     .isa = isa()});
      if (twins.q8.shape.keys > 100) {
        EXPECT_LT(report.kept_pairs, report.visible_pairs);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Q8EngineTest,
                         testing::ValuesIn(test::cross(test::levels_here(), cases())),
                         test::param_label<Q8EngineTest::ParamType>);

// What memory may hold: any scale, and -128, which ggml itself never writes.
TEST(Q8EngineExtremesTest, AnyBlockIsTakenAsItIs) {
  constexpr uint16_t kScales[] = {0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xC200, 0x1000};
  for (const IsaLevel& level : test::levels_here()) {
    for (const Mode mode : {Mode::kDense, Mode::kShadow}) {
      Twins twins({"", {4, 2, 17, 150, 64, 64}, true, true, causal});
      for (int64_t j = 0; j < 150; ++j) {
        for (int64_t d = 0; d < 64; ++d) {
          twins.key.set_quant(0, j, d, static_cast<int8_t>(j * 7 + d * 5));
          twins.value.set_quant(0, j, d, -128);
        }
        twins.key.set_scale(0, j, 32 * (j % 2), kScales[j % 7]);
        twins.value.set_scale(0, j, 32 * (j % 2), kScales[j % 7]);
      }
      twins.update();
      const CallReport report = expect_twins(
          twins, {.mode = mode, .keep = 0.2, .keep_floor = 0, .isa = std::string(level.name)});
      EXPECT_EQ(report.nonfinite_rows, 0);
    }
  }
}

TEST(Q8EngineExtremesTest, ScalesThatAreNotFiniteActAsInF32) {
  for (const IsaLevel& level : test::levels_here()) {
    for (const uint16_t bad : {uint16_t{0x7C00}, uint16_t{0xFC00}, uint16_t{0x7E01}}) {
      for (const bool in_key : {true, false}) {
        for (const Mode mode : {Mode::kDense, Mode::kShadow}) {
          Twins twins({"", {4, 2, 17, 150, 64, 64}, true, true, causal});
          (in_key ? twins.key : twins.value).set_scale(0, 40, 32, bad);
          twins.update();
          const CallReport report = expect_twins(
              twins, {.mode = mode, .keep = 0.2, .keep_floor = 0, .isa = std::string(level.name)});
          EXPECT_EQ(report.nonfinite_rows, in_key && mode == Mode::kShadow ? 17 : 0);
        }
      }
    }
  }
}

// Cells that no row may see can hold anything.
TEST(Q8EngineExtremesTest, HiddenGarbageDoesNotLeak) {
  for (const IsaLevel& level : test::levels_here()) {
    for (const Mode mode : {Mode::kDense, Mode::kShadow}) {
      Twins twins({"", {4, 2, 17, 150, 64, 64}, true, true, [](Problem& p) {
                     p.set_mask([](int64_t, int64_t i, int64_t j) {
                       return j != 40 && j <= i + 133 ? 0.0 : -test::kInfinity;
                     });
                   }});
      twins.key.set_scale(1, 40, 0, 0x7E01);
      twins.value.set_scale(1, 40, 0, 0x7C00);
      twins.update();
      expect_twins(twins,
                   {.mode = mode, .keep = 0.2, .keep_floor = 0, .isa = std::string(level.name)});
      for (const uint32_t bits : test::bits(twins.q8)) {
        ASSERT_TRUE(std::isfinite(std::bit_cast<float>(bits)));
      }
    }
  }
}

// --- What is refused ----------------------------------------------------------------------------

void expect_refused(const Problem& p, const std::string& text) {
  const Status status = Engine::supports(p.call);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
}

TEST(Q8EngineErrorTest, DimsThatAreNoWholeBlocks) {
  Problem key({2, 1, 5, 40, 48, 64});
  key.call.key.type = ElementType::kQ8_0;
  expect_refused(key, "key head dim 48 is not a multiple of 32, as q8_0 needs");
  key.call.key.type = kF16;
  EXPECT_TRUE(Engine::supports(key.call).ok());
  Problem value({2, 1, 5, 40, 64, 80});
  value.call.value.type = ElementType::kQ8_0;
  expect_refused(value, "value head dim 80 is not a multiple of 32, as q8_0 needs");
}

TEST(Q8EngineErrorTest, QueriesAndMasks) {
  Problem query({2, 1, 5, 64, 64, 64});
  query.call.query.type = ElementType::kQ8_0;
  expect_refused(query, "query must be f32");
  Problem mask({2, 1, 5, 64, 64, 64});
  mask.set_mask([](int64_t, int64_t, int64_t) { return 0.0; });
  mask.call.mask.additive.type = ElementType::kQ8_0;
  expect_refused(mask, "mask must be f32 or f16");
}

TEST(Q8EngineErrorTest, UnknownTypes) {
  Problem p({2, 1, 5, 64, 64, 64});
  p.call.key.type = static_cast<ElementType>(99);
  expect_refused(p, "keys and values must be f32, f16 or q8_0");
}

}  // namespace
}  // namespace shadowattn
