#include "pilot/score_basis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "engine_problem.h"
#include "kernels/family.h"

namespace shadowattn {
namespace {

using test::Problem;
using test::Random;
using test::Shape;

/// As ScoreBasis promises: standard deviation of a logit by what is left out.
constexpr double kLeftOut = 0.3;

class ScoreBasisTest : public testing::Test {
 protected:
  static Shape shape(int64_t dim) {
    return {.heads = 2, .kv_heads = 1, .rows = 100, .keys = 300, .dim = dim, .value_dim = 32};
  }

  /// Queries and keys that are rotated and whose directions fall off as `decay`^i.
  static void fill_decaying(Problem& p, double decay, double size) {
    Random random(5);
    const int64_t dim = p.shape.dim;
    std::vector<double> mixing(static_cast<size_t>(dim * dim));
    for (double& m : mixing) m = random.normal() / std::sqrt(static_cast<double>(dim));
    const auto fill = [&](test::Tensor& x, bool with_mean) {
      for (int64_t h = 0; h < x.view().heads; ++h) {
        for (int64_t r = 0; r < x.view().rows; ++r) {
          std::vector<double> z;
          for (int64_t i = 0; i < dim; ++i) {
            z.push_back(size * random.normal() * std::pow(decay, static_cast<double>(i)));
          }
          for (int64_t d = 0; d < dim; ++d) {
            double sum = with_mean ? 5.0 * std::cos(static_cast<double>(d)) : 0.0;
            for (int64_t i = 0; i < dim; ++i) {
              sum += mixing[static_cast<size_t>(d * dim + i)] * z[static_cast<size_t>(i)];
            }
            x.set(h, r, d, sum);
          }
        }
      }
    };
    fill(p.query, false);
    fill(p.key, true);
  }

  void find(const Problem& p) {
    basis_.reserve(p.shape.dim);
    basis_.find(p.call, 0, {0, p.shape.keys}, attend_, project_);
    project(p);
  }

  void project(const Problem& p) {
    const int64_t dim = p.shape.dim;
    a_.assign(static_cast<size_t>(p.shape.heads * p.shape.rows * dim), 0.0F);
    b_.assign(static_cast<size_t>(p.shape.keys * basis_.dim()), 0.0F);
    for (int64_t h = 0; h < p.shape.heads; ++h) {
      project_.rows({{p.call.query.row(h, 0), ElementType::kF32, p.call.query.row_stride},
                     0,
                     1,
                     p.shape.rows,
                     dim,
                     basis_.query_map(),
                     dim,
                     nullptr,
                     a_.data() + h * p.shape.rows * dim});
    }
    project_.rows({{p.call.key.row(0, 0), p.call.key.type, p.call.key.row_stride},
                   0,
                   1,
                   p.shape.keys,
                   dim,
                   basis_.key_map(),
                   basis_.dim(),
                   basis_.key_start(),
                   b_.data()});
  }

  const float* a(const Problem& p, int64_t head, int64_t row) const {
    return a_.data() + (head * p.shape.rows + row) * p.shape.dim;
  }

  /// Differences between a · b and q · k of one row, less their mean, which softmax does not see;
  /// `size` grows to the largest |q · k|.
  std::vector<double> differences(const Problem& p, int64_t head, int64_t row, double* size) const {
    std::vector<double> all;
    double mean = 0.0;
    for (int64_t j = 0; j < p.shape.keys; ++j) {
      double exact = 0.0;
      for (int64_t d = 0; d < p.shape.dim; ++d) {
        exact +=
            double{test::element(p.call.query, head, row, d)} * test::element(p.call.key, 0, j, d);
      }
      double estimate = 0.0;
      for (int64_t c = 0; c < basis_.dim(); ++c) {
        estimate += double{a(p, head, row)[c]} * b_[static_cast<size_t>(j * basis_.dim() + c)];
      }
      all.push_back(estimate - exact);
      mean += all.back() / static_cast<double>(p.shape.keys);
      *size = std::max(*size, std::fabs(exact));
    }
    for (double& x : all) x -= mean;
    return all;
  }

  /// M is held in f32: directions with less than 2^-23 of its largest value, 3e-4 of the largest
  /// logits, drown. A quarter of a step of seven bits is what the estimate does not notice.
  static constexpr double kUnnoticed = 0.25 / 63.0;
  void expect_exact(const Problem& p) const {
    for (int64_t row = 0; row < p.shape.rows; row += 9) {
      double size = 0.0;
      for (const double x : differences(p, row % p.shape.heads, row, &size)) {
        ASSERT_LE(std::fabs(x), kUnnoticed * size);
      }
    }
  }

  AttendKernel attend_ = best_kernel(attend_kernels(), detect_cpu_features());
  ProjectKernel project_ = best_kernel(project_kernels(), detect_cpu_features());
  ScoreBasis basis_;
  std::vector<float> a_;
  std::vector<float> b_;
};

TEST_F(ScoreBasisTest, TakesAllDirectionsWhereAllCount) {
  for (const int64_t dim : {16, 48, 64, 80, 128}) {  // more than these 200 queries do not span
    Problem p(shape(dim));
    p.query.fill_random(1, test::Content::kNormal, 6.0);
    p.key.fill_random(2, test::Content::kNormal, 6.0);
    find(p);
    EXPECT_EQ(basis_.dim(), dim);
    expect_exact(p);
    EXPECT_EQ(basis_.left_out(a(p, 0, 0)), 0.0);
  }
}

TEST_F(ScoreBasisTest, FindsTheFewDirectionsThatCount) {
  for (const int64_t dim : {64, 128}) {
    Problem p(shape(dim));
    fill_decaying(p, 0.4, 10.0);
    find(p);
    EXPECT_EQ(basis_.dim(), 16);
    double size = 0.0;
    for (const double x : differences(p, 1, 7, &size)) EXPECT_LE(std::fabs(x), kUnnoticed * size);
  }
}

TEST_F(ScoreBasisTest, LeavesOutWhatItSays) {
  Problem p(shape(64));
  fill_decaying(p, 0.94, 4.0);
  find(p);
  EXPECT_GT(basis_.dim(), 16);
  EXPECT_LT(basis_.dim(), 64);
  const double scale2 = double{p.call.scale} * p.call.scale;
  double said = 0.0;
  double measured = 0.0;
  int rows = 0;
  for (int64_t head = 0; head < 2; ++head) {
    for (int64_t row = 0; row < p.shape.rows; ++row, ++rows) {
      said += scale2 * basis_.left_out(a(p, head, row));
      double size = 0.0;
      for (const double x : differences(p, head, row, &size)) {
        measured += scale2 * x * x / static_cast<double>(p.shape.keys);
      }
    }
  }
  // Every row and key is in the samples. The iteration stops before directions are eigenvectors, so
  // that the directions left out still share something.
  EXPECT_NEAR(said / measured, 1.0, 0.15);
  EXPECT_LE(std::sqrt(measured / rows), 1.05 * kLeftOut);
}

TEST_F(ScoreBasisTest, AQueryThatNoSampleIsLikeIsNoticed) {
  // One in 16 rows is sampled; the others' directions are left out, and left_out says so.
  Shape s = shape(64);
  s.rows = 4096;
  s.keys = 512;
  Problem p(s);
  Random random(6);
  for (int64_t row = 0; row < s.rows; ++row) {
    for (int64_t d = 0; d < 64; ++d) p.query.set(0, row, d, d < 16 ? 3.0 * random.normal() : 0.0);
    for (int64_t d = 0; d < 64; ++d) p.query.set(1, row, d, d < 16 ? 3.0 * random.normal() : 0.0);
  }
  for (int64_t d = 16; d < 64; ++d) p.query.set(0, 1, d, 30.0);
  find(p);
  ASSERT_LT(basis_.dim(), 64);
  const double scale2 = double{p.call.scale} * p.call.scale;
  EXPECT_LT(scale2 * basis_.left_out(a(p, 0, 2)), 0.5);
  EXPECT_GT(scale2 * basis_.left_out(a(p, 0, 1)), 4.0);
}

TEST_F(ScoreBasisTest, SamplesThatAreNotFiniteAreLeftOut) {
  Problem p(shape(64));
  fill_decaying(p, 0.4, 10.0);
  Problem clean(shape(64));
  fill_decaying(clean, 0.4, 10.0);
  p.query.fill_row(0, 3, test::kNan);
  p.query.fill_row(1, 50, HUGE_VAL);
  p.key.fill_row(0, 150, -HUGE_VAL);
  p.key.fill_row(0, 151, test::kNan);
  find(p);
  EXPECT_EQ(basis_.dim(), 16);
  project(clean);
  double size = 0.0;
  for (const double x : differences(clean, 1, 7, &size)) EXPECT_LE(std::fabs(x), kUnnoticed * size);
}

TEST_F(ScoreBasisTest, NothingToGoByGivesTheHeadsOwnDirections) {
  for (const int what : {0, 1, 2, 3}) {
    Problem p(shape(48));
    if (what == 0) p.query.fill(0.0);
    if (what == 1) p.key.fill(0.0);
    if (what == 2) p.query.fill(test::kNan);
    if (what == 3) p.key.fill(test::kNan);
    find(p);
    EXPECT_EQ(basis_.dim(), 48) << what;
    for (int64_t i = 0; i < 48 * 48; ++i) {
      ASSERT_EQ(basis_.key_map()[i], i % 49 == 0 ? 1.0F : 0.0F);
      ASSERT_EQ(basis_.query_map()[i], i % 49 == 0 ? 1.0F : 0.0F);
    }
  }
}

TEST_F(ScoreBasisTest, AnySizeOfOperands) {
  for (const double size : {1e-25, 1e-8, 1e8, 1e25}) {
    Problem p(shape(32));
    p.query.fill_random(8, test::Content::kNormal, size);
    p.key.fill_random(9, test::Content::kNormal, 1.0 / size);
    find(p);
    expect_exact(p);
  }
}

TEST_F(ScoreBasisTest, KeysThatAreAllTheSame) {
  Problem p(shape(48));
  p.key.fill(2.1);
  find(p);
  expect_exact(p);
}

TEST_F(ScoreBasisTest, FewRowsAndKeys) {
  for (const int64_t count : {1, 2, 17}) {
    Shape s = shape(64);
    s.rows = s.keys = count;
    Problem p(s);
    find(p);
    expect_exact(p);
  }
}

}  // namespace
}  // namespace shadowattn
