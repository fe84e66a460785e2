// The questions of `shadowattn eval`: the same for a seed, with answers that stand in the text.
#include "eval/tasks.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "common/failure.h"
#include "common/text.h"
#include "eval/phone_functions.h"

namespace shadowattn::tool::eval {
namespace {

// Words and marks, as tokenizers have them, roughly.
int64_t count_words(std::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool word = std::isalnum(static_cast<unsigned char>(text[i])) != 0;
    const bool before = i > 0 && std::isalnum(static_cast<unsigned char>(text[i - 1])) != 0;
    if ((word && !before) || std::ispunct(static_cast<unsigned char>(text[i])) != 0) ++count;
  }
  return count;
}

const std::vector<TextTask> kTasks = {TextTask::kNeedle, TextTask::kRecite, TextTask::kTrack,
                                      TextTask::kCount, TextTask::kCalls};

std::vector<Prompt> prompts_of(TextTask task, TaskOptions options,
                               const std::string& document = "") {
  return make_prompts(task, options, Filler(document, count_words), count_words);
}

TaskOptions small(int trials = 23, uint64_t seed = 3, bool chat = false) {
  TaskOptions options;
  options.context = 1024;
  options.trials = trials;
  options.seed = seed;
  options.chat = chat;
  return options;
}

std::string all_text(const std::vector<Prompt>& prompts) {
  std::string text;
  for (const Prompt& prompt : prompts) {
    text += prompt.text + "\n";
    for (const Question& question : prompt.questions) text += question.text + question.expected;
  }
  return text;
}

size_t question_count(const std::vector<Prompt>& prompts) {
  size_t count = 0;
  for (const Prompt& prompt : prompts) count += prompt.questions.size();
  return count;
}

TEST(Tasks, AskAsOftenAsToldAndFitTheContext) {
  for (const TextTask task : kTasks) {
    for (const int trials : {1, 5, 23}) {
      for (const bool chat : {false, true}) {
        const std::vector<Prompt> prompts = prompts_of(task, small(trials, 3, chat));
        EXPECT_EQ(question_count(prompts), static_cast<size_t>(trials));
        for (const Prompt& prompt : prompts) {
          ASSERT_FALSE(prompt.questions.empty());
          EXPECT_LE(prompt.length, 1024);
          EXPECT_GE(count_words(prompt.text), prompt.length / 2);
          for (const Question& question : prompt.questions) {
            EXPECT_LE(count_words(prompt.text + question.text) + count_words(question.expected),
                      prompt.length);
            EXPECT_FALSE(question.expected.empty());
            EXPECT_GT(question.answer_tokens, 0);
          }
        }
      }
    }
  }
}

TEST(Tasks, TheSeedDecides) {
  for (const TextTask task : kTasks) {
    const std::string text = all_text(prompts_of(task, small()));
    EXPECT_EQ(all_text(prompts_of(task, small())), text);
    EXPECT_NE(all_text(prompts_of(task, small(23, 4))), text);
  }
}

TEST(Needle, StandsInTheTextOnceAndWhereItSays) {
  for (const Prompt& prompt : prompts_of(TextTask::kNeedle, small(60))) {
    for (const Question& question : prompt.questions) {
      const std::string sentence = question.text + " " + question.expected + ".";
      const size_t at = prompt.text.find(sentence);
      ASSERT_NE(at, std::string::npos) << sentence;
      EXPECT_EQ(prompt.text.find(question.text, at + 1), std::string::npos);
      const double depth = static_cast<double>(at) / static_cast<double>(prompt.text.size());
      EXPECT_NEAR(depth, question.depth, 0.12);
    }
  }
}

TEST(Needle, CoversLengthsDepthsAndBothKinds) {
  std::set<int64_t> lengths;
  std::set<double> depths;
  std::map<std::string, int> groups;
  for (const Prompt& prompt : prompts_of(TextTask::kNeedle, small(60))) {
    lengths.insert(prompt.length);
    for (const Question& question : prompt.questions) {
      ++groups[question.group];
      if (question.group == "single") depths.insert(question.depth);
    }
  }
  EXPECT_EQ(lengths, (std::set<int64_t>{512, 1024}));
  EXPECT_EQ(depths.size(), 5U);
  EXPECT_EQ(groups, (std::map<std::string, int>{{"several", 30}, {"single", 30}}));
}

TEST(Needle, AsManyFactsAsAskedForInEveryText) {
  TaskOptions options = small(50);
  options.facts = 20;
  const std::vector<Prompt> prompts = prompts_of(TextTask::kNeedle, options);
  ASSERT_EQ(prompts.size(), 3U);
  EXPECT_EQ(question_count(prompts), 50U);
  for (const Prompt& prompt : prompts) {
    EXPECT_EQ(prompt.length, 1024);
    size_t facts = 0;
    for (size_t at = 0; (at = prompt.text.find(" The code of ", at)) != std::string::npos; ++at) {
      ++facts;
    }
    EXPECT_EQ(facts, 20U);
    std::set<std::string> asked;
    for (const Question& question : prompt.questions) asked.insert(question.text);
    EXPECT_EQ(asked.size(), prompt.questions.size());
  }
}

TEST(Recite, ThePassageIsAsLongAsAskedFor) {
  TaskOptions options = small();
  options.passage = kLongestPassage;
  options.context = 2048;
  for (const Prompt& prompt : prompts_of(TextTask::kRecite, options)) {
    for (const Question& question : prompt.questions) {
      EXPECT_GE(count_words(question.expected), kLongestPassage);
      EXPECT_LE(count_words(prompt.text + question.text + question.expected), options.context);
      EXPECT_NE(one_line(prompt.text).find(one_line(question.expected)), std::string::npos);
    }
  }
}

TEST(Recite, TheAnswerFollowsTheCueInTheText) {
  for (const Prompt& prompt : prompts_of(TextTask::kRecite, small())) {
    for (const Question& question : prompt.questions) {
      const std::string text = one_line(prompt.text);
      const std::string cue = one_line(question.text);
      const size_t at = text.find(cue);
      ASSERT_NE(at, std::string::npos);
      EXPECT_EQ(text.find(cue, at + 1), std::string::npos);
      EXPECT_NE(prompt.text.find(trim(question.text) + question.space + question.expected),
                std::string::npos);
      EXPECT_EQ(
          text.compare(at + cue.size() + 1, question.expected.size(), one_line(question.expected)),
          0);
      EXPECT_LT(question.depth, 0.8);
    }
  }
}

// The value that follows from the statements, by going back from key to key.
std::string followed(const std::string& text, std::string key) {
  for (int hop = 0; hop < 5; ++hop) {
    const std::string start = " The code of " + key + " is ";
    const size_t at = text.find(start);
    if (at == std::string::npos) return "";
    const size_t from = at + start.size();
    const std::string value = text.substr(from, text.find('.', from) - from);
    if (!value.starts_with("the code of ")) return value;
    key = value.substr(std::string("the code of ").size());
  }
  return "";
}

TEST(Track, TheChainLeadsToTheAnswer) {
  for (const Prompt& prompt : prompts_of(TextTask::kTrack, small())) {
    for (const Question& question : prompt.questions) {
      const std::string start = "So the code of ";
      const size_t at = question.text.rfind(start) + start.size();
      const std::string key = question.text.substr(at, question.text.rfind(" is") - at);
      EXPECT_EQ(followed(prompt.text, key), question.expected) << key;
      EXPECT_EQ(prompt.text.find(" The code of " + key + " is " + question.expected),
                std::string::npos)
          << "no chain";
    }
  }
}

TEST(Count, TheAnswerIsTheMostFrequentByFar) {
  for (const Prompt& prompt : prompts_of(TextTask::kCount, small())) {
    std::map<std::string, int> counts;
    std::string text = prompt.text.substr(std::string("List:").size());
    for (char& c : text) c = c == ',' || c == '.' ? ' ' : c;
    std::istringstream words(text);
    for (std::string word; words >> word;) ++counts[word];
    std::map<int, int> times;
    for (const auto& [word, count] : counts) ++times[count];
    ASSERT_EQ(times.size(), 2U);
    EXPECT_EQ(times.begin()->first * 3, times.rbegin()->first);
    EXPECT_EQ(times.rbegin()->second, 5);  // one of each kind
    for (const Question& question : prompt.questions) {
      EXPECT_EQ(counts[question.expected], times.rbegin()->first);
    }
  }
}

TEST(PhoneFunctions, CanBeToldApart) {
  const std::vector<PhoneFunction> functions = phone_functions();
  std::set<std::string> names;
  std::set<std::string> descriptions;
  std::set<std::string> requests;
  for (const PhoneFunction& function : functions) {
    names.insert(function.name);
    descriptions.insert(function.description);
    requests.insert(function.request);
    std::set<std::string_view> arguments;
    for (const Argument* argument : function.arguments) arguments.insert(argument->name);
    EXPECT_EQ(arguments.size(), function.arguments.size()) << function.name;
  }
  EXPECT_EQ(names.size(), functions.size());
  EXPECT_EQ(descriptions.size(), functions.size());
  EXPECT_EQ(requests.size(), functions.size());
  // A likelihood ends with the name: none may go on as another.
  for (auto name = names.begin(); std::next(name) != names.end(); ++name) {
    EXPECT_FALSE(std::next(name)->starts_with(*name)) << *name;
  }
}

// The descriptions a prompt lists, by name.
std::map<std::string, nlohmann::json> listed_functions(const Prompt& prompt) {
  std::map<std::string, nlohmann::json> listed;
  std::istringstream lines(prompt.text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("{")) continue;
    const nlohmann::json description = nlohmann::json::parse(line);
    EXPECT_TRUE(listed.emplace(description["name"], description).second) << line;
  }
  return listed;
}

TEST(Calls, AskForFunctionsOfTheListThatNoExampleSolves) {
  std::map<std::string, int> groups;
  for (const Prompt& prompt : prompts_of(TextTask::kCalls, small())) {
    const std::map<std::string, nlohmann::json> listed = listed_functions(prompt);
    const size_t first_example = prompt.text.find("\n\nRequest: ");
    ASSERT_NE(first_example, std::string::npos);
    for (const Question& question : prompt.questions) {
      ++groups[question.group];
      const bool select = question.group == "select";
      const nlohmann::json call = select ? nlohmann::json{{"name", question.expected}}
                                         : nlohmann::json::parse(question.expected);
      const std::string name = call["name"];
      ASSERT_TRUE(listed.contains(name)) << name;
      EXPECT_EQ(prompt.text.find(name, first_example), std::string::npos) << "solved";
      if (select) continue;
      // Every argument of the description, and what the request says of it.
      EXPECT_EQ(call["arguments"].size(), listed.at(name)["arguments"].size());
      for (const auto& [argument, value] : call["arguments"].items()) {
        EXPECT_TRUE(listed.at(name)["arguments"].contains(argument)) << argument;
        EXPECT_NE(question.text.find(value.get<std::string>()), std::string::npos) << value;
      }
    }
  }
  EXPECT_EQ(groups, (std::map<std::string, int>{{"select", 12}, {"step", 11}}));
}

TEST(Calls, OffersCandidatesOfTheListTheRightOneOnce) {
  for (const Prompt& prompt : prompts_of(TextTask::kCalls, small())) {
    const std::map<std::string, nlohmann::json> listed = listed_functions(prompt);
    for (const Question& question : prompt.questions) {
      const std::vector<std::string>& names = question.candidates;
      EXPECT_EQ(names.empty(), question.group == "step");
      if (names.empty()) continue;
      EXPECT_EQ(names.size(), std::min<size_t>(20, listed.size()));
      EXPECT_EQ(std::count(names.begin(), names.end(), question.expected), 1);
      EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
      for (const std::string& name : names) EXPECT_TRUE(listed.contains(name)) << name;
    }
  }
}

TEST(Calls, FillLongContexts) {
  TaskOptions options = small(2);
  options.context = 16384;
  for (const Prompt& prompt : prompts_of(TextTask::kCalls, options)) {
    EXPECT_GT(count_words(prompt.text), 15'000);
    EXPECT_EQ(prompt.questions.size(), 1U);
  }
}

TEST(Answers, AreCalledRightWhenTheFirstObjectIsTheExpectedOne) {
  Question question;
  question.match = Match::kJson;
  question.expected = R"({"name":"find_trip","arguments":{"place":"Rome"}})";
  for (const char* right : {R"( {"name":"find_trip","arguments":{"place":"Rome"}})",
                            "```json\n{\n  \"name\": \"find_trip\",\n  \"arguments\": {\"place\": "
                            "\"Rome\"}\n}\n``` {}"}) {
    EXPECT_TRUE(is_right(question, right)) << right;
    EXPECT_TRUE(is_settled(question, right)) << right;
    EXPECT_EQ(right_share(question, right), 1);
  }
  for (const char* wrong : {"", "find_trip", "} {", R"({"name":"find_trip","arguments":{}})",
                            R"({} {"name":"find_trip","arguments":{"place":"Rome"}})"}) {
    EXPECT_FALSE(is_right(question, wrong)) << wrong;
  }
  EXPECT_FALSE(is_settled(question, ""));
  EXPECT_FALSE(is_settled(question, R"({"name":"find_trip","arguments":{"place")"));
  EXPECT_TRUE(is_settled(question, R"({"name":"find_trip"})"));
  EXPECT_TRUE(is_settled(question, R"({"name":"fill)"));
  EXPECT_DOUBLE_EQ(right_share(question, R"({"name": "fill)"), 11.0 / 49);
}

TEST(Answers, AreJudgedByTheFirstWordTheWordOrTheBeginning) {
  Question question;
  question.expected = "velvet";
  for (const char* right : {" velvet", " Velvet.", " \"velvet\" and", "velvet\nThe"}) {
    EXPECT_TRUE(is_right(question, right)) << right;
  }
  for (const char* wrong : {"", " ", " velvety", " the velvet", " wood velvet"}) {
    EXPECT_FALSE(is_right(question, wrong)) << wrong;
  }
  EXPECT_FALSE(is_settled(question, " vel"));
  EXPECT_TRUE(is_settled(question, " velvet."));

  question.match = Match::kContains;
  EXPECT_TRUE(is_right(question, "The code is velvet."));
  EXPECT_FALSE(is_right(question, "The code is velvety."));
  EXPECT_FALSE(is_settled(question, "The code is velvet"));
  EXPECT_TRUE(is_settled(question, "The code is velvet."));

  question.match = Match::kBegins;
  question.expected = "went home\nand slept";
  EXPECT_TRUE(is_right(question, " went home and slept well"));
  EXPECT_FALSE(is_right(question, " went home and"));
  EXPECT_FALSE(is_settled(question, " went home and"));
  EXPECT_TRUE(is_settled(question, " stayed out all night"));
  EXPECT_DOUBLE_EQ(right_share(question, " went home alone"), 11.0 / 19);
  EXPECT_EQ(right_share(question, ""), 0);
  EXPECT_EQ(right_share(question, " went home and slept well"), 1);
}

TEST(Sentences, AreTheWholeDocument) {
  const std::string document =
      "One. Two! \"Is it three?\" he said.\n\nMr. X... and so on" + std::string(3000, 'x') + " end";
  std::string joined;
  for (const std::string& sentence : split_sentences(document)) {
    EXPECT_FALSE(sentence.empty());
    EXPECT_LE(sentence.size(), 401U);
    joined += sentence;
  }
  EXPECT_EQ(joined, document);
  EXPECT_TRUE(split_sentences("").empty());
}

TEST(Filler, ComesFromTheDocumentAndSaysWhenThatIsTooShort) {
  std::string document;
  for (int i = 0; i < 200; ++i) document += " Sentence number " + std::to_string(i) + " is here.";
  const Filler filler(document, count_words);
  Dice dice(1);
  for (int i = 0; i < 20; ++i) {
    std::string text;
    for (const Sentence& sentence : filler.draw(600, dice)) text += sentence.text;
    EXPECT_NE(document.find(text), std::string::npos);
    EXPECT_GT(count_words(text), 590);
    EXPECT_LE(count_words(text), 600);
  }
  EXPECT_THROW(filler.draw(100000, dice), Failure);
  EXPECT_THROW(prompts_of(TextTask::kNeedle, small(), "Too short."), Failure);
}

}  // namespace
}  // namespace shadowattn::tool::eval
