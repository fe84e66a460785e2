#include "demo/questions.h"

#include <gtest/gtest.h>

#include <set>

namespace shadowattn::tool {
namespace {

std::string numbered(int number) {
  static const char* const kNames[] = {"Anne", "Bruno", "Carl", "Dora",
                                       "Emil", "Fay",   "Gus",  "Hal"};
  const std::string name = kNames[number % 8];
  return "Then " + name + " and number " + std::to_string(number) +
         " of the crew went down to the harbour to see whether the old boat still lay there.";
}

std::string story(int sentences) {
  std::string text = "It began.";
  for (int i = 0; i < sentences; ++i) text += " " + numbered(i);
  return text;
}

TEST(Quotations, AskForTheWordsThatFollowTheirStart) {
  const std::vector<Question> questions = quotations(story(40), 4);
  ASSERT_EQ(questions.size(), 4U);
  std::set<std::string> starts;
  for (const Question& question : questions) {
    starts.insert(question.start);
    EXPECT_NE(question.text.find('"' + question.start + '"'), std::string::npos);
    EXPECT_NE(story(40).find(question.start + " " + question.expected), std::string::npos);
    EXPECT_TRUE(is_right(question, " " + question.expected + " and more."));
    EXPECT_FALSE(is_right(question, "the crew went home"));
  }
  EXPECT_EQ(starts.size(), 4U) << "each is asked once";
}

TEST(Quotations, AreSpreadOverTheText) {
  const std::string text = story(100);
  const std::vector<Question> questions = quotations(text, 5);
  ASSERT_EQ(questions.size(), 5U);
  for (size_t i = 0; i < 5; ++i) {
    const double depth =
        static_cast<double>(text.find(questions[i].start)) / static_cast<double>(text.size());
    EXPECT_NEAR(depth, (static_cast<double>(i) + 0.5) / 5, 0.05);
  }
}

TEST(Quotations, NeedSentencesThatAreLongAndStartAsNoOther) {
  EXPECT_TRUE(quotations("", 3).empty());
  EXPECT_TRUE(quotations("Short. It is. So is this.", 3).empty());
  const std::string twice = "Well. " + numbered(1) + " " + numbered(1);
  EXPECT_TRUE(quotations(twice, 3).empty());
  EXPECT_EQ(quotations("Well. " + numbered(1), 3).size(), 1U);
}

TEST(KnownQuestions, AreAskedWhereTheirAnswersStand) {
  EXPECT_TRUE(known_questions(story(10)).empty());
  const std::vector<Question> questions =
      known_questions(story(3) + " The antitrust law should not be repealed; but it should.");
  ASSERT_EQ(questions.size(), 1U);
  EXPECT_TRUE(is_right(questions[0], "repealed."));
  EXPECT_FALSE(is_right(questions[0], "changed."));
}

TEST(Quotations, RightIsWhatHasTheSameWords) {
  const Question question{"", "", "of the crew, went"};
  EXPECT_TRUE(is_right(question, "of the\n  Crew went down"));
  EXPECT_FALSE(is_right(question, "of the crewmen went"));
  EXPECT_FALSE(is_right(question, "the crew went"));
  EXPECT_FALSE(is_right({"", "", ""}, "anything")) << "nobody judges";
}

}  // namespace
}  // namespace shadowattn::tool
