// Masks, shapes and contents under which the right keys must be found.
#pragma once

#include <string>
#include <vector>

#include "engine_problem.h"

namespace shadowattn::test {

struct ShadowCase {
  std::string label;
  Shape shape;
  void (*prepare)(Problem& p) = [](Problem&) {};
  EngineOptions options = {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 5};
  bool prompt = false;  ///< short rows come first: their tiles may be dense
};

inline void causal(Problem& p) { p.set_causal(p.shape.keys - p.shape.rows); }

inline std::vector<ShadowCase> shadow_cases() {
  const Shape shape = {4, 2, 13, 200, 32, 48, ElementType::kF16};
  Shape peaky = shape;
  peaky.content = Content::kPeaky;
  Shape outliers = {2, 1, 9, 150, 80, 32, ElementType::kF32, Layout::kGaps, Content::kOutliers};
  Shape prompt = {2, 1, 120, 120, 64, 32, ElementType::kF16, Layout::kRowsFirst, Content::kPeaky};
  return {
      {"no_mask", shape},
      {"causal", shape, causal},
      {"causal_peaky", peaky, causal},
      {"causal_outliers_gaps_f32", outliers, causal},
      {"whole_prompt",
       prompt,
       [](Problem& p) { p.set_causal(0); },
       {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 5},
       true},
      {"whole_prompt_with_floor",
       prompt,
       [](Problem& p) { p.set_causal(0); },
       {.keep = 0.1, .keep_floor = 40, .sink = 1, .recent = 3},
       true},
      {"rows_before_the_keys",
       {4, 2, 60, 80, 32, 48, ElementType::kF16},
       [](Problem& p) { p.set_causal(-5); },
       {.keep = 0.2, .keep_floor = 0, .sink = 2, .recent = 5},
       true},
      {"one_row", {7, 1, 1, 500, 64, 64, ElementType::kF16}, causal},
      {"longer_than_a_block_of_channels", {2, 1, 4, 700, 16, 16, ElementType::kF16}, causal},
      {"misaligned", {2, 2, 6, 99, 48, 16, ElementType::kF16, Layout::kMisaligned}, causal},
      {"reversed", {2, 2, 6, 99, 48, 16, ElementType::kF32, Layout::kReversed}, causal},
      {"nothing_forced", shape, causal, {.keep = 0.05, .keep_floor = 0, .sink = 0, .recent = 0}},
      {"one_token",
       shape,
       [](Problem&) {},
       {.keep = 1e-9, .keep_floor = 0, .sink = 0, .recent = 0}},
      {"more_forced_than_kept",
       shape,
       causal,
       {.keep = 0.01, .keep_floor = 0, .sink = 20, .recent = 30}},
      {"forced_beyond_all",
       shape,
       causal,
       {.keep = 0.5, .keep_floor = 0, .sink = 1 << 30, .recent = 1 << 30}},
      {"half", shape, causal, {.keep = 0.5, .keep_floor = 0, .sink = 4, .recent = 16}},
      {"almost_all", shape, causal, {.keep = 0.99, .keep_floor = 0, .sink = 4, .recent = 16}},
      {"causal_as_mask", shape,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) { return j <= i + 187 ? 0.0 : -kInfinity; });
       }},
      {"sliding_window", shape,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return j <= i + 180 && j > i + 90 ? 0.0 : -kInfinity;
         });
       }},
      {"random_mask", shape,
       [](Problem& p) {
         Random random(5);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) { return random.chance(0.4) ? -kInfinity : 0.0; });
       }},
      {"random_mask_per_head", shape,
       [](Problem& p) {
         Random random(6);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) {
               return random.chance(0.4) ? -kInfinity : 0.25 * random.normal();
             },
             4, ElementType::kF32);
       }},
      {"rows_that_see_nothing", shape,
       [](Problem& p) {
         p.set_mask([](int64_t, int64_t i, int64_t j) {
           return i % 4 == 1 || j % 3 == 0 ? -kInfinity : 0.0;
         });
       }},
      {"two_sequences", shape, set_interleaved},
      {"shifted_context", shape, [](Problem& p) { set_shifted(p, 80); }},
      {"shifted_context_in_a_window", shape, [](Problem& p) { set_shifted(p, 80, 70); }},
      {"alibi", shape, [](Problem& p) { p.set_alibi(187); }},
      {"scale_negative", shape,
       [](Problem& p) {
         causal(p);
         p.call.scale = -p.call.scale;
       }},
      {"scale_zero", shape,
       [](Problem& p) {
         causal(p);
         p.call.scale = 0.0F;
       }},
      {"equal_keys", shape,
       [](Problem& p) {
         causal(p);
         p.key.fill(0.5);
       }},
      {"zero_queries_and_keys", shape,
       [](Problem& p) {
         causal(p);
         p.query.fill_row(0, 3, 0.0);
         p.query.fill_row(1, 3, 0.0);
         for (int64_t j = 0; j < 200; j += 2) p.key.fill_row(0, j, 0.0);
       }},
      {"tiny_and_huge_rows",
       {2, 1, 9, 150, 32, 32, ElementType::kF32},
       [](Problem& p) {
         causal(p);
         p.query.fill_row(0, 2, 1e-35);
         p.query.fill_row(1, 2, 1e12);
         p.key.fill_row(0, 7, 1e-20);
         p.key.fill_row(0, 9, -1e-12);
         p.call.scale = 1e-13F;
       }},
  };
}

/// Row i sees `length` keys; the last row's last is `behind` keys from the end.
inline void set_window(Problem& p, int64_t length, int64_t behind) {
  const int64_t last = p.shape.keys - p.shape.rows - behind;
  p.set_mask([=](int64_t, int64_t i, int64_t j) {
    return j <= i + last && j > i + last - length ? 0.0 : -kInfinity;
  });
}

/// Contexts of more than KeySample::kWholeBlocks blocks, whose levels come from a sample.
inline std::vector<ShadowCase> long_cases() {
  Shape peaky = {2, 1, 10, 1700, 16, 16, ElementType::kF16, Layout::kRowsFirst, Content::kPeaky};
  return {
      {"long_no_mask", {2, 1, 9, 1301, 32, 16, ElementType::kF16}},
      {"long_causal", {4, 2, 9, 2100, 16, 16, ElementType::kF16}, causal},
      {"long_causal_peaky", peaky, causal},
      // One block more than what is sampled whole, and one block less; odd ends.
      {"long_65_blocks", {2, 1, 5, 1025, 16, 16}, causal},
      {"long_64_blocks", {2, 1, 5, 1024, 16, 16}, causal},
      {"long_window",
       {2, 1, 20, 1700, 16, 16, ElementType::kF16},
       [](Problem& p) { set_window(p, 1333, 7); }},
      {"long_context_short_window",
       {2, 1, 20, 1700, 16, 16, ElementType::kF16},
       [](Problem& p) { set_window(p, 90, 301); }},
      // The heads of a list see different keys: one the end, one the middle, one next to nothing,
      // which no sample meets, one nothing at all.
      {"long_plain_ranges_per_head",
       {4, 1, 9, 1600, 16, 16, ElementType::kF32},
       [](Problem& p) {
         p.set_mask(
             [](int64_t h, int64_t i, int64_t j) {
               const int64_t begin[] = {i, 205, 515, 1600};
               const int64_t end[] = {1500 + i, 1100 + i, 531, 1600};
               return j >= begin[h] && j < end[h] ? 0.0 : -kInfinity;
             },
             4);
       }},
      {"long_scale_negative", peaky,
       [](Problem& p) {
         causal(p);
         p.call.scale = -p.call.scale;
       }},
      {"long_scale_zero", peaky,
       [](Problem& p) {
         causal(p);
         p.call.scale = 0.0F;
       }},
      {"long_random_mask",
       {2, 1, 9, 1301, 16, 16, ElementType::kF16},
       [](Problem& p) {
         Random random(5);
         p.set_mask(
             [&](int64_t, int64_t, int64_t) { return random.chance(0.4) ? -kInfinity : 0.0; });
       }},
  };
}

}  // namespace shadowattn::test
