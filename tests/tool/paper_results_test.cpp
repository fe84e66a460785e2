// What `shadowattn-lab paper` keeps on disk, and what it takes over.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/failure.h"
#include "paper/results.h"

namespace shadowattn::tool::paper {
namespace {

class PaperResults : public testing::Test {
 protected:
  PaperResults()
      : folder_(std::filesystem::temp_directory_path() /
                ("shadowattn-paper-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
    facts_.model = "a.gguf";
    facts_.threads = 2;
    facts_.seed = UINT64_MAX;
  }
  ~PaperResults() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string path() const { return (folder_ / "paper.json").string(); }
  void write(const std::string& text) const { std::ofstream(path()) << text; }
  std::string read() const {
    std::ostringstream text;
    text << std::ifstream(path()).rdbuf();
    return text.str();
  }

  std::filesystem::path folder_;
  RunFacts facts_;
};

TEST_F(PaperResults, EveryFindingIsOnDiskAtOnce) {
  Results results(path(), facts_, false);
  EXPECT_FALSE(results.has("recall", "1024"));
  results.add("recall", "1024", {{{"mean", 0.25}}, "2026-11-27T00:00:00Z", 1.5});

  const Results again(path(), facts_, false);
  ASSERT_TRUE(again.has("recall", "1024"));
  EXPECT_FALSE(again.has("recall", "2048"));
  EXPECT_FALSE(again.has("scales", "1024"));
  const Findings found = again.findings("recall", {"2048", "1024"});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].first, "1024");
  EXPECT_EQ(found[0].second.values.at("mean"), 0.25);
  EXPECT_EQ(found[0].second.started, "2026-11-27T00:00:00Z");
  EXPECT_EQ(found[0].second.seconds, 1.5);
}

TEST_F(PaperResults, FindingsComeInTheOrderOfTheParts) {
  Results results(path(), facts_, false);
  results.add("recall", "b", {1, "", 0});
  results.add("recall", "a", {2, "", 0});
  const Findings found = results.findings("recall", {"b", "c", "a"});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].first, "b");
  EXPECT_EQ(found[1].first, "a");
  EXPECT_EQ(*find_part(found, "a"), 2);
  EXPECT_EQ(find_part(found, "c"), nullptr);
}

TEST(PaperFindings, EntriesAreFoundByWhatTheyAreCalled) {
  const Json values = {{"methods", {{{"name", "a"}, {"kld", 1}}, {{"name", "b"}, {"kld", 2}}}}};
  const Json* found = find_entry(&values, "methods", "name", "b");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->at("kld"), 2);
  EXPECT_EQ(find_entry(&values, "methods", "name", "c"), nullptr);
  EXPECT_EQ(find_entry(nullptr, "methods", "name", "b"), nullptr);
}

TEST_F(PaperResults, ResultsOfAnotherRunAreKeptAndRefused) {
  Results(path(), facts_, false).add("recall", "1024", {1, "", 0});
  const std::string before = read();
  RunFacts other = facts_;
  other.model_checksum = "other";
  try {
    Results(path(), other, false);
    FAIL() << "taken over";
  } catch (const Failure& failure) {
    EXPECT_NE(std::string(failure.what()).find("model_checksum"), std::string::npos);
    EXPECT_NE(std::string(failure.what()).find("--fresh"), std::string::npos);
  }
  EXPECT_EQ(read(), before);
  EXPECT_FALSE(Results(path(), other, true).has("recall", "1024"));
}

TEST_F(PaperResults, WhatIsNoResultIsRefused) {
  for (const char* text :
       {"", "{", "[]", "7", "{}", R"({"paper": 2})", R"({"paper": 1, "facts": 3})",
        R"({"paper": 1, "facts": {}, "experiments": {}})"}) {
    write(text);
    EXPECT_THROW(Results(path(), facts_, false), Failure) << text;
    EXPECT_EQ(read(), text);
  }
}

TEST_F(PaperResults, PartsOfTheWrongFormAreRefused) {
  Results(path(), facts_, false).save("shadowattn-lab paper", false);
  const Json whole = Json::parse(read());
  for (const char* experiments :
       {"[1]", R"({"recall": 1})", R"({"recall": {"parts": {"1024": {}}}})",
        R"({"recall": {"parts": {"1024": {"values": 1, "started": 2, "seconds": 3}}}})"}) {
    Json changed = whole;
    changed["experiments"] = Json::parse(experiments);
    write(changed.dump());
    EXPECT_THROW(Results(path(), facts_, false), Failure) << experiments;
  }
}

TEST_F(PaperResults, SaysWhetherAllIsMeasured) {
  Results results(path(), facts_, false);
  results.save("shadowattn-lab paper --quick", true);
  EXPECT_EQ(Json::parse(read()).at("complete"), true);
  EXPECT_EQ(Json::parse(read()).at("command"), "shadowattn-lab paper --quick");
}

}  // namespace
}  // namespace shadowattn::tool::paper
