// Baselines that choose keys: they choose the right ones and attend to just these.
#include <gtest/gtest.h>

#include "baseline_reference.h"
#include "kernel_param.h"
#include "shadow_cases.h"

namespace shadowattn {
namespace {

using test::causal;
using test::Granularity;
using test::Kept;
using test::Problem;
using test::ReferenceList;
using test::ShadowCase;
using test::Variant;

using Param = test::KernelParam<Variant, ShadowCase>;

struct ModeName {
  Mode mode;
  const char* name;
};

constexpr ModeName kModes[] = {
    {Mode::kSparseF32, "sparse_f32"}, {Mode::kOracle, "oracle"}, {Mode::kBlock, "block"}};

/// Masks that a shadow engine is tested with, by number and by mass.
std::vector<ShadowCase> all_cases() {
  std::vector<ShadowCase> cases = test::shadow_cases();
  const std::vector<ShadowCase> more = test::long_cases();
  cases.insert(cases.end(), more.begin(), more.end());
  cases.push_back({"softcap", {4, 2, 13, 200, 32, 48, ElementType::kF16}, [](Problem& p) {
                     causal(p);
                     p.call.logit_softcap = 2.0F;
                   }});
  cases.push_back({"sink_logits", {4, 2, 13, 200, 32, 48, ElementType::kF32}, [](Problem& p) {
                     causal(p);
                     p.set_sinks({3.0F, -1.0F, 9.0F, -std::numeric_limits<float>::infinity()});
                   }});
  std::vector<ShadowCase> both;
  for (ShadowCase c : cases) {
    c.options.attn_error = 0.0;
    both.push_back(c);
    c.options.attn_error = 0.1;
    c.options.keep = 1.0;
    c.label += "_by_mass";
    both.push_back(c);
    c.options.attn_error = 0.02;
    c.options.keep = 0.3;
    c.label += "_capped";
    both.push_back(c);
  }
  return both;
}

std::vector<Param> params() {
  std::vector<ShadowCase> cases;
  for (const ModeName& mode : kModes) {
    for (const Granularity& g : test::kGranularities) {
      if (mode.mode == Mode::kOracle && g.rows * (g.share ? 2 : 1) > 1) continue;  // no sharing
      for (ShadowCase c : all_cases()) {
        // Half of the combinations: the code does not know one from the other.
        if (c.options.attn_error > 0.0 && g.rows == 4) continue;
        if (c.options.attn_error == 0.0 && g.rows == 1 && g.share) continue;
        c.label = std::string(mode.name) + "_" + g.label + "_" + c.label;
        c.options.mode = mode.mode;
        c.options.rows_per_list = g.rows;
        c.options.share_heads = g.share;
        cases.push_back(c);
      }
    }
  }
  // The plainest kernels and the best: what chooses is the same for all.
  const std::vector<Variant> all = test::variants_here();
  return test::cross(std::vector<Variant>{all.front(), all.back()}, cases);
}

class BaselineChoiceTest : public testing::TestWithParam<Param> {};

TEST_P(BaselineChoiceTest, ChoosesTheRightKeysAndAttendsToThem) {
  const Variant& variant = GetParam().kernel;
  Problem p(GetParam().data.shape);
  GetParam().data.prepare(p);
  EngineOptions options = variant.with(GetParam().data.options);
  options.threads = 2;
  options.sample_every = 3;
  Engine engine = test::make_baseline(options);
  const Kept kept = test::kept_keys(engine, p);
  const CallReport report = test::attend(engine, p);
  int64_t most_rows = 1;
  for (const ReferenceList& list : test::reference_lists(p, options)) {
    SCOPED_TRACE("head " + std::to_string(list.rows.front().head) + " row " +
                 std::to_string(list.rows.front().row));
    most_rows = std::max(most_rows, std::ssize(list.rows));
    test::expect_list_is_shared(p, kept, list);
    if (options.mode == Mode::kBlock) {
      test::expect_right_blocks(test::kept_by(kept, list), list, options);
    } else {
      test::expect_right_keys(test::kept_by(kept, list), list, options);
    }
    if (HasFailure()) return;
  }
  EXPECT_EQ(report.dense_reason, DenseReason::kNone);
  EXPECT_EQ(report.visible_pairs, test::visible_pairs(p));
  EXPECT_EQ(report.kept_pairs, test::count(kept));
  EXPECT_EQ(report.nonfinite_rows, 0);
  EXPECT_GT(report.lists, 0);
  test::expect_reference(p, variant.of_lists(most_rows), [&](int64_t h, int64_t i, int64_t j) {
    return kept[static_cast<size_t>(h)][static_cast<size_t>(i)].count(j) != 0;
  });
}

INSTANTIATE_TEST_SUITE_P(Masks, BaselineChoiceTest, testing::ValuesIn(params()),
                         test::param_label<Param>);

}  // namespace
}  // namespace shadowattn
