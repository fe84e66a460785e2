// What all baselines have in common: windows, samples, edges of the input, threads.
#include <gtest/gtest.h>

#include "baseline_reference.h"
#include "q8_0_tensor.h"
#include "shadow_cases.h"

namespace shadowattn {
namespace {

using test::attend;
using test::causal;
using test::Kept;
using test::make_baseline;
using test::Problem;

constexpr Mode kModes[] = {Mode::kSparseF32, Mode::kBlock, Mode::kNpuInt8, Mode::kWindow,
                           Mode::kOracle};

EngineOptions options_of(Mode mode) {
  return {.mode = mode, .keep = 0.2, .attn_error = 0.0, .keep_floor = 0, .sink = 2, .recent = 4};
}

bool all_finite(const Problem& p, int64_t head, int64_t row) {
  for (int64_t d = 0; d < p.shape.value_dim; ++d) {
    if (!std::isfinite(test::element(p.call.output, head, row, d))) return false;
  }
  return true;
}

// --- window ---------------------------------------------------------------------------------

std::set<int64_t> expected_window(const Problem& p, const EngineOptions& options, int64_t head,
                                  int64_t row) {
  const test::SelectionReference reference(p.call, options);
  const std::vector<int64_t> seen = reference.visible({head, row});
  const int64_t visible = std::ssize(seen);
  int64_t wanted = int64_t{options.sink} + options.recent;
  if (options.attn_error == 0.0) {
    wanted = std::max(wanted, test::reference_keep(options, visible));
  }
  if (visible <= options.keep_floor) wanted = visible;
  EngineOptions wide = options;
  wide.recent = static_cast<int32_t>(std::max<int64_t>(wanted - options.sink, 0));
  std::set<int64_t> keys = test::SelectionReference(p.call, wide).forced({head, row});
  for (auto key = seen.rbegin(); key != seen.rend() && std::ssize(keys) < wanted; ++key) {
    keys.insert(*key);
  }
  return keys;
}

TEST(BaselineWindowTest, IsTheFirstAndTheLastTokens) {
  for (const test::ShadowCase& c : test::shadow_cases()) {
    for (const double attn_error : {0.0, 0.05}) {
      SCOPED_TRACE(c.label);
      Problem p(c.shape);
      c.prepare(p);
      EngineOptions options = c.options;
      options.mode = Mode::kWindow;
      options.attn_error = attn_error;
      Engine engine = make_baseline(options);
      const Kept kept = test::kept_keys(engine, p);
      for (int64_t h = 0; h < p.shape.heads; ++h) {
        for (int64_t i = 0; i < p.shape.rows; ++i) {
          ASSERT_EQ(kept[static_cast<size_t>(h)][static_cast<size_t>(i)],
                    expected_window(p, options, h, i))
              << "head " << h << " row " << i;
        }
      }
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.kept_pairs, test::count(kept));
    }
  }
}

TEST(BaselineWindowTest, KeepsWhatItShould) {
  Problem p({2, 1, 5, 1000, 32, 32});
  causal(p);
  EngineOptions options = options_of(Mode::kWindow);
  options.attn_error = 0.05;
  Engine narrow = make_baseline(options);
  EXPECT_EQ(attend(narrow, p).kept_pairs, 2 * 5 * 6);
  options.attn_error = 0.0;
  options.keep = 0.5;
  Engine wide = make_baseline(options);
  EXPECT_EQ(attend(wide, p).kept_pairs, 2 * (498 + 499 + 499 + 500 + 500));
}

// --- samples ----------------------------------------------------------------------------------

TEST(BaselineSampleTest, EveryRowWhenAskedFor) {
  for (const Mode mode : {Mode::kSparseF32, Mode::kBlock, Mode::kWindow, Mode::kOracle}) {
    Problem p({4, 2, 9, 300, 32, 32, ElementType::kF16});
    causal(p);
    EngineOptions options = options_of(mode);
    options.attn_error = 0.1;
    options.keep = 1.0;
    options.sample_every = 1;
    Engine engine = make_baseline(options);
    const Kept kept = test::kept_keys(engine, p);
    const CallReport report = attend(engine, p);
    ASSERT_EQ(report.samples.size(), 36U);
    double lost = 0.0;
    double estimated = 0.0;
    for (size_t n = 0; n < report.samples.size(); ++n) {
      const RowSample& sample = report.samples[n];
      EXPECT_EQ(sample.head, static_cast<int32_t>(n / 9)) << "in order";
      EXPECT_EQ(sample.row, static_cast<int32_t>(n % 9));
      const auto& keys = kept[n / 9][n % 9];
      EXPECT_EQ(sample.kept, std::ssize(keys));
      EXPECT_EQ(sample.visible, 292 + sample.row);
      const std::vector<double> shares = test::reference_shares(p.call, sample.head, sample.row);
      double mass = 0.0;
      for (const int64_t key : keys) mass += shares[static_cast<size_t>(key)];
      EXPECT_NEAR(sample.lost, 1.0 - mass, 1e-5);
      if (mode == Mode::kOracle) {
        EXPECT_NEAR(sample.estimated_lost, sample.lost, 1e-5);
        EXPECT_LE(sample.lost, 0.1 + 1e-5);
      }
      lost += sample.lost;
      estimated += sample.estimated_lost;
    }
    EXPECT_NEAR(report.estimated_lost, estimated, 1e-9);
    if (mode == Mode::kWindow) continue;
    EXPECT_EQ(report.estimated_rows, 36);
    if (mode == Mode::kBlock) continue;  // an estimate, and a poor one
    EXPECT_NEAR(report.estimated_lost, lost, 1e-3);
  }
}

TEST(BaselineSampleTest, AboutOneInSoMany) {
  for (const Mode mode : kModes) {
    Problem p({8, 2, 64, 300, 16, 16});
    causal(p);
    EngineOptions options = options_of(mode);
    options.sample_every = 8;
    Engine some = make_baseline(options);
    const CallReport report = attend(some, p);
    EXPECT_GT(report.samples.size(), 30U);
    EXPECT_LT(report.samples.size(), 110U);
    options.sample_every = 0;
    Engine none = make_baseline(options);
    EXPECT_TRUE(attend(none, p).samples.empty());
  }
}

// --- input --------------------------------------------------------------------------------------

TEST(BaselineInputTest, NoRowsAndNoKeys) {
  for (const Mode mode : kModes) {
    for (const MaskKind kind : {MaskKind::kNone, MaskKind::kCausal, MaskKind::kAdditive}) {
      Engine engine = make_baseline(options_of(mode));
      Problem rows({2, 1, 0, 40, 32, 32});
      rows.set_mask([](int64_t, int64_t, int64_t) { return 0.0; });
      rows.call.mask.kind = kind;
      EXPECT_EQ(attend(engine, rows).kept_pairs, 0);
      Problem keys({2, 1, 9, 0, 32, 32});
      keys.set_mask([](int64_t, int64_t, int64_t) { return 0.0; });
      keys.call.mask.kind = kind;
      EXPECT_EQ(attend(engine, keys).kept_pairs, 0);
      test::expect_reference(keys, {});
    }
  }
}

TEST(BaselineInputTest, RowsThatSeeNothingAreZero) {
  for (const Mode mode : kModes) {
    for (const bool all : {false, true}) {
      Problem p({4, 2, 9, 200, 32, 48});
      p.set_mask(
          [&](int64_t, int64_t i, int64_t) { return all || i % 2 == 0 ? -test::kInfinity : 0.0; });
      p.set_sinks({1.0F, 2.0F, 3.0F, -5.0F});
      Engine engine = make_baseline(options_of(mode));
      attend(engine, p);
      for (int64_t h = 0; h < 4; ++h) {
        for (int64_t i = 0; i < 9; ++i) {
          EXPECT_TRUE(all_finite(p, h, i));
          if (all || i % 2 == 0) {
            EXPECT_EQ(test::element(p.call.output, h, i, 0), 0.0F);
          }
        }
      }
    }
  }
}

TEST(BaselineInputTest, NanInHiddenKeysAndValuesReachesNobody) {
  for (const Mode mode : kModes) {
    for (const double junk : {test::kNan, test::kInfinity, -test::kInfinity}) {
      Problem p({4, 2, 9, 200, 32, 48, ElementType::kF16});
      p.set_mask([](int64_t, int64_t i, int64_t j) {
        const bool hidden = j < 10 || (j >= 60 && j < 70) || j > 150 + i;
        return hidden ? -test::kInfinity : 0.0;
      });
      for (int64_t kv = 0; kv < 2; ++kv) {
        for (const int64_t j : {0, 9, 60, 64, 69, 170, 199}) {
          p.key.fill_row(kv, j, junk);
          p.value.fill_row(kv, j, junk);
        }
      }
      Engine engine = make_baseline(options_of(mode));
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.nonfinite_rows, 0);
      for (int64_t h = 0; h < 4; ++h) {
        for (int64_t i = 0; i < 9; ++i) EXPECT_TRUE(all_finite(p, h, i)) << "mode " << int(mode);
      }
    }
  }
}

TEST(BaselineInputTest, NanInAVisibleKeyMakesItsRowsDense) {
  for (const Mode mode : {Mode::kSparseF32, Mode::kBlock, Mode::kOracle, Mode::kNpuInt8}) {
    Problem p({4, 2, 9, 200, 32, 48});
    causal(p);
    p.key.set(1, 100, 3, test::kNan);
    EngineOptions options = options_of(mode);
    options.precision = Precision::kF32;
    Engine engine = make_baseline(options);
    const CallReport report = attend(engine, p);
    EXPECT_EQ(report.nonfinite_rows, 9);
    EXPECT_EQ(report.dense_reason, DenseReason::kNone);
    for (int64_t h = 2; h < 4; ++h) {
      for (int64_t i = 0; i < 9; ++i) test::expect_reference_row(p, h, i, {});
    }
    p.key.set(0, 100, 3, test::kNan);
    EXPECT_EQ(attend(engine, p).dense_reason, DenseReason::kNonFinite);
  }
}

TEST(BaselineInputTest, ShortContextsAreDense) {
  for (const Mode mode : {Mode::kSparseF32, Mode::kBlock, Mode::kWindow, Mode::kOracle}) {
    for (const double attn_error : {0.0, 0.3}) {
      Problem p({4, 2, 9, 200, 32, 48});
      causal(p);
      EngineOptions options = options_of(mode);
      options.keep_floor = 200;
      options.attn_error = attn_error;
      Engine engine = make_baseline(options);
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.dense_reason, DenseReason::kShort);
      EXPECT_EQ(report.kept_pairs, report.visible_pairs);
    }
  }
}

TEST(BaselineInputTest, EveryElementTypeAndLayout) {
  for (const Mode mode : kModes) {
    for (const test::Layout layout : test::kLayouts) {
      Problem p({4, 2, 9, 200, 32, 64, ElementType::kF32, layout});
      causal(p);
      const test::Q8Tensor key(p.key.view(), layout);
      const test::Q8Tensor value(p.value.view(), layout);
      test::Tensor plain_key(ElementType::kF32, 2, 200, 32);
      test::Tensor plain_value(ElementType::kF32, 2, 200, 64);
      plain_key.for_each(
          [&](int64_t h, int64_t j, int64_t d) { return test::element(key.view(), h, j, d); });
      plain_value.for_each(
          [&](int64_t h, int64_t j, int64_t d) { return test::element(value.view(), h, j, d); });
      Engine engine = make_baseline(options_of(mode));
      p.call.key = key.view();
      p.call.value = value.view();
      const CallReport packed = attend(engine, p);
      const std::vector<uint32_t> bits = test::bits(p);
      p.call.key = plain_key.view();
      p.call.value = plain_value.view();
      const CallReport plain = attend(engine, p);
      EXPECT_EQ(packed.kept_pairs, plain.kept_pairs);
      EXPECT_EQ(test::bits(p), bits);
    }
  }
}

// --- threads ------------------------------------------------------------------------------------

TEST(BaselineThreadsTest, TheResultDoesNotDependOnThem) {
  for (const Mode mode : kModes) {
    Problem p({6, 2, 70, 500, 32, 32, ElementType::kF16});
    causal(p);
    EngineOptions options = options_of(mode);
    options.attn_error = 0.1;
    options.keep = 0.5;
    options.sample_every = 10;
    std::vector<std::vector<uint32_t>> outputs;
    std::vector<CallReport> reports;
    for (const int threads : {1, 3, 8}) {
      options.threads = threads;
      Engine engine = make_baseline(options);
      reports.push_back(attend(engine, p));
      outputs.push_back(test::bits(p));
    }
    for (size_t n = 1; n < outputs.size(); ++n) {
      EXPECT_EQ(outputs[n], outputs[0]) << "mode " << int(mode);
      EXPECT_EQ(reports[n].kept_pairs, reports[0].kept_pairs);
      ASSERT_EQ(reports[n].samples.size(), reports[0].samples.size());
      for (size_t i = 0; i < reports[0].samples.size(); ++i) {
        EXPECT_EQ(reports[n].samples[i].row, reports[0].samples[i].row);
        EXPECT_EQ(reports[n].samples[i].lost, reports[0].samples[i].lost);
      }
    }
  }
}

/// What the paper finds: whole blocks need more tokens for the same mass than single keys, and
/// these no fewer than each row's own best.
TEST(BaselineOrderTest, BlocksNeedMoreThanKeysAndTheseMoreThanTheOracle) {
  Problem p(
      {4, 2, 32, 2000, 32, 32, ElementType::kF16, test::Layout::kRowsFirst, test::Content::kPeaky});
  causal(p);
  std::vector<double> lost;
  for (const Mode mode : {Mode::kOracle, Mode::kSparseF32, Mode::kBlock, Mode::kWindow}) {
    EngineOptions options = options_of(mode);
    options.sample_every = 1;
    Engine engine = make_baseline(options);
    const CallReport report = attend(engine, p);
    lost.push_back(0.0);
    for (const RowSample& sample : report.samples) lost.back() += sample.lost;
  }
  for (size_t n = 1; n < lost.size(); ++n) EXPECT_GT(lost[n], lost[n - 1]) << n;
}

}  // namespace
}  // namespace shadowattn
