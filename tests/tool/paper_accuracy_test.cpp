// What `shadowattn-lab paper` says of accuracy: only what the findings bear out.
#include <gtest/gtest.h>

#include <algorithm>

#include "paper/accuracy_chapter.h"

namespace shadowattn::tool::paper::accuracy {
namespace {

struct Flips {
  int losses = 0;
  int gains = 0;
};

// Dense attention has `hits` of `questions`; every other way flips the same answers.
Json task_values(int questions, int hits, double guessed, Flips flips) {
  Json values = {{"context", 4096},
                 {"chat", false},
                 {"questions", questions},
                 {"guessed", guessed},
                 {"methods", Json::array()}};
  for (const Column& column : kColumns) {
    const Flips own = column.name == kDense ? Flips() : flips;
    values["methods"].push_back({{"name", column.name},
                                 {"config", ""},
                                 {"hits", hits - own.losses + own.gains},
                                 {"losses", own.losses},
                                 {"gains", own.gains},
                                 {"right", 0},
                                 {"nll", 1.5},
                                 {"nll_change", column.name == kDense ? 0.0 : -0.25},
                                 {"nll_change_error", 0.125},
                                 {"kept", 0.2},
                                 {"seconds", 1.0}});
  }
  return values;
}

Findings findings_of(const std::string& id, Json values) {
  Finding finding;
  finding.values = std::move(values);
  return {{id, std::move(finding)}};
}

const Claim& claim_of(const Chapter& chapter, std::string_view column) {
  const auto found = std::find_if(chapter.claims.begin(), chapter.claims.end(),
                                  [&](const Claim& claim) { return claim.what.ends_with(column); });
  EXPECT_NE(found, chapter.claims.end()) << column;
  return *found;
}

const eval::Section* section_of(const Chapter& chapter, const std::string& heading) {
  for (const eval::Section& section : chapter.sections) {
    if (section.heading == heading) return &section;
  }
  return nullptr;
}

TEST(AccuracyChapter, WithoutFindingsHoldsThePublishedTableOnly) {
  const Chapter chapter = write_chapter({});
  EXPECT_TRUE(chapter.claims.empty());
  ASSERT_EQ(chapter.sections.size(), 1U);
  const eval::Grid& grid = chapter.sections.front().grid;
  ASSERT_EQ(grid.rows.size(), 13U);  // 4 models, 3 tasks, the average
  EXPECT_EQ(grid.rows.back(), (std::vector<std::string>{"average", "", "36.8", "29.4", "25.4",
                                                        "18.8", "36.4", "-0.4"}));
  for (const auto& row : grid.rows) EXPECT_EQ(row.size(), grid.header.size());
}

TEST(AccuracyChapter, CountsFlippedAnswersAgainstFullAttention) {
  const Chapter chapter = write_chapter(findings_of("needle", task_values(200, 150, 0, {9, 7})));
  EXPECT_EQ(chapter.claims.size(), kColumns.size() - 1);
  // 100 · (7 - 9) / 200 ± 100 · sqrt(16 - 4/200) / 200
  EXPECT_EQ(claim_of(chapter, kPaperShadow).measured, "-1.0 ± 2.0 points (200 questions: needle)");
  EXPECT_EQ(claim_of(chapter, kPaperShadow).remark, "");  // within two errors of -0.4
  EXPECT_NE(claim_of(chapter, "npu-int8").remark.find("less is lost"), std::string::npos);
  EXPECT_EQ(section_of(chapter, "Right answers")->grid.rows.front()[3], "75.0 %");
  EXPECT_EQ(section_of(chapter, "Right answers")->grid.rows.front()[4], "74.0 %");
  const eval::Grid& likelihood = section_of(chapter, "Likelihood of the expected answers")->grid;
  EXPECT_EQ(likelihood.rows.front()[3], "1.5000");
  EXPECT_EQ(likelihood.rows.front()[4], "-0.2500 ± 0.1250");
}

TEST(AccuracyChapter, SaysWhenMoreIsLostThanPublished) {
  const Chapter chapter = write_chapter(findings_of("recite", task_values(100, 90, 0, {40, 0})));
  EXPECT_NE(claim_of(chapter, kPaperShadow).remark.find("more is lost"), std::string::npos);
  EXPECT_NE(claim_of(chapter, kPaperShadow).remark.find("unexplained"), std::string::npos);
}

// No answer flipped, but of so few that the published loss may be there all the same.
TEST(AccuracyChapter, DoesNotTakeFewQuestionsForProof) {
  const Chapter few = write_chapter(findings_of("needle", task_values(10, 10, 0, {})));
  EXPECT_EQ(claim_of(few, "sparse-f32").remark, "");
  const Chapter many = write_chapter(findings_of("needle", task_values(1000, 1000, 0, {})));
  EXPECT_NE(claim_of(many, "sparse-f32").remark, "");
}

TEST(AccuracyChapter, DoesNotCountWhatDenseAttentionOnlyGuesses) {
  const Json guessed = task_values(100, 30, 0.25, {10, 0});
  const Chapter chapter = write_chapter(findings_of("select", guessed));
  EXPECT_EQ(claim_of(chapter, "block").measured, "-");
  EXPECT_NE(claim_of(chapter, "block").remark.find("guessing"), std::string::npos);
  EXPECT_NE(section_of(chapter, "Right answers")->note.find("select"), std::string::npos);

  Findings both = findings_of("select", guessed);
  both.push_back(findings_of("needle", task_values(100, 90, 0, {1, 0})).front());
  EXPECT_TRUE(claim_of(write_chapter(both), "block").measured.ends_with("(100 questions: needle)"));
}

TEST(AccuracyChapter, ShowsEveryLengthThatWasRead) {
  Json values = {{"lengths", Json::array()}};
  EXPECT_TRUE(section_of(write_chapter(findings_of("reading", values)), "Reading texts")
                  ->grid.rows.empty());
  for (const int context : {2048, 4096}) {
    Json length = {{"context", context},
                   {"windows", 8},
                   {"tokens", 100},
                   {"ppl", 50.0},
                   {"methods", Json::array()}};
    for (const Column& column : kColumns) {
      if (column.name == kDense) continue;
      length["methods"].push_back({{"name", column.name},
                                   {"config", ""},
                                   {"ppl", 51.0},
                                   {"ppl_ratio", 1.02},
                                   {"ppl_ratio_error", 0.001},
                                   {"kld", 0.5},
                                   {"kld_error", 0.01},
                                   {"same_top", 0.9},
                                   {"kept", 0.2},
                                   {"seconds", 1.0}});
    }
    values["lengths"].push_back(std::move(length));
  }
  const Chapter chapter = write_chapter(findings_of("reading", values));
  const eval::Section* reading = section_of(chapter, "Reading texts");
  ASSERT_NE(reading, nullptr);
  EXPECT_EQ(reading->grid.rows.size(), 2 * kColumns.size());
  for (const auto& row : reading->grid.rows) EXPECT_EQ(row.size(), reading->grid.header.size());
  EXPECT_NE(reading->picture.find("0.50000 nats"), std::string::npos);
}

}  // namespace
}  // namespace shadowattn::tool::paper::accuracy
