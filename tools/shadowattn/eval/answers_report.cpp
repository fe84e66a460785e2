#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "common/text.h"
#include "eval/plots.h"
#include "eval/ranks.h"
#include "eval/report_parts.h"

namespace shadowattn::tool::eval {
namespace {

using Json = nlohmann::ordered_json;

struct AskedQuestion {
  const Prompt* prompt = nullptr;
  const Question* question = nullptr;
};

std::vector<AskedQuestion> asked_questions(const std::vector<Prompt>& prompts) {
  std::vector<AskedQuestion> all;
  for (const Prompt& prompt : prompts) {
    for (const Question& question : prompt.questions) all.push_back({&prompt, &question});
  }
  return all;
}

std::string title_of(const std::string& task) {
  if (task == "needle") return "Needles: facts in a long text";
  if (task == "recite") return "Recite: passages of the text, word for word";
  if (task == "track") return "Track: chains of statements";
  if (task == "count") return "Count: the most frequent word";
  return "Calls: functions of a phone";
}

std::string out_of(size_t count, size_t total) {
  return std::to_string(count) + " of " + std::to_string(total);
}

size_t right_count(const std::vector<bool>& right) {
  return static_cast<size_t>(std::count(right.begin(), right.end(), true));
}

bool is_ranked(const MethodAnswers& method) {
  return std::any_of(method.ranks.begin(), method.ranks.end(), [](int rank) { return rank > 0; });
}

Grid overview(const std::vector<MethodAnswers>& methods) {
  Grid grid;
  grid.header = {"method",         "right", "accuracy", "share of the answers", "losses", "gains",
                 "nats per token", "kept",  "time"};
  for (const MethodAnswers& method : methods) {
    const Flips flipped = flips(methods.front().right, method.right);
    grid.rows.push_back({method.method.name, out_of(right_count(method.right), method.right.size()),
                         format_percent(accuracy(method.right)), format_percent(method.right_share),
                         std::to_string(flipped.losses.size()),
                         std::to_string(flipped.gains.size()), format_fixed(answer_nll(method), 4),
                         format_percent(method.kept), format_seconds(method.seconds)});
  }
  return grid;
}

// Of the questions with candidates; empty when there are none.
Grid rank_grid(const std::vector<MethodAnswers>& methods) {
  Grid grid;
  grid.header = {"method", "first of the candidates", "among the first five"};
  for (const MethodAnswers& method : methods) {
    if (!is_ranked(method)) continue;
    grid.rows.push_back({method.method.name, format_percent(top_share(method.ranks, 1)),
                         format_percent(top_share(method.ranks, 5))});
  }
  return grid;
}

// Accuracy by depth and length of one method and group.
struct Cells {
  std::set<int64_t> lengths;
  std::set<int> depths;  // percent
  std::map<std::pair<int, int64_t>, std::vector<bool>> right;
};

int percent(double depth) { return static_cast<int>(std::lround(100 * depth)); }

Cells cells_of(const std::vector<AskedQuestion>& questions, const std::string& group,
               const std::vector<bool>& right) {
  Cells cells;
  for (size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].question->group != group) continue;
    const int64_t length = questions[i].prompt->length;
    const int depth = percent(questions[i].question->depth);
    cells.lengths.insert(length);
    cells.depths.insert(depth);
    cells.right[{depth, length}].push_back(right[i]);
  }
  return cells;
}

HeatMap depth_map(const Cells& cells) {
  HeatMap map;
  map.row_title = "depth";
  map.column_title = "context, tokens; cells: share of right answers, %";
  map.high = 100;
  map.decimals = 0;
  for (const int64_t length : cells.lengths) map.columns.push_back(format_count(length));
  for (const int depth : cells.depths) {
    map.rows.push_back(std::to_string(depth) + " %");
    map.values.emplace_back();
    for (const int64_t length : cells.lengths) {
      const auto found = cells.right.find({depth, length});
      map.values.back().push_back(found == cells.right.end()
                                      ? std::numeric_limits<double>::quiet_NaN()
                                      : 100 * accuracy(found->second));
    }
  }
  return map;
}

std::set<std::string> groups_of(const std::vector<AskedQuestion>& questions) {
  std::set<std::string> groups;
  for (const AskedQuestion& asked : questions) groups.insert(asked.question->group);
  return groups;
}

void add_heat_maps(const std::vector<AskedQuestion>& questions,
                   const std::vector<MethodAnswers>& methods, Page& page) {
  for (const std::string& group : groups_of(questions)) {
    for (const MethodAnswers& method : methods) {
      const Cells cells = cells_of(questions, group, method.right);
      Section section;
      section.heading = method.method.name + (group.empty() ? "" : ", " + group);
      section.picture = heat_map(depth_map(cells));
      section.page_only = true;
      page.sections.push_back(std::move(section));
    }
  }
}

// By group and length.
Grid parts(const std::vector<AskedQuestion>& questions, const std::vector<MethodAnswers>& methods) {
  std::map<std::pair<std::string, int64_t>, std::vector<size_t>> members;
  for (size_t i = 0; i < questions.size(); ++i) {
    members[{questions[i].question->group, questions[i].prompt->length}].push_back(i);
  }
  Grid grid;
  grid.header = {"questions", "context", "number"};
  for (const MethodAnswers& method : methods) grid.header.push_back(method.method.name);
  for (const auto& [key, indices] : members) {
    std::vector<std::string> row = {key.first.empty() ? "all" : key.first, format_count(key.second),
                                    std::to_string(indices.size())};
    for (const MethodAnswers& method : methods) {
      size_t right = 0;
      for (const size_t index : indices) right += method.right[index] ? 1 : 0;
      row.push_back(std::to_string(right));
    }
    grid.rows.push_back(std::move(row));
  }
  return grid;
}

// Long answers are cut: the table shows how they begin.
std::string cell(const std::string& answer) {
  constexpr size_t kWidth = 60;
  if (answer.empty()) return "(nothing)";
  return answer.size() > kWidth ? repair_utf8(answer.substr(0, kWidth)).text + "..." : answer;
}

Grid flip_grid(const std::vector<AskedQuestion>& questions, const MethodAnswers& reference,
               const MethodAnswers& method) {
  const Flips flipped = flips(reference.right, method.right);
  Grid grid;
  grid.header = {"flip",
                 "question",
                 "depth",
                 "context",
                 "expected",
                 reference.method.name,
                 method.method.name};
  const auto add = [&](const char* kind, const std::vector<size_t>& indices) {
    for (const size_t i : indices) {
      const Question& question = *questions[i].question;
      grid.rows.push_back({kind, std::to_string(i), format_fixed(100 * question.depth, 0) + " %",
                           format_count(questions[i].prompt->length), cell(question.expected),
                           cell(shown_answer(question, reference.answers[i])),
                           cell(shown_answer(question, method.answers[i]))});
    }
  };
  add("loss", flipped.losses);
  add("gain", flipped.gains);
  return grid;
}

Json method_json(const MethodAnswers& reference, const MethodAnswers& method) {
  const Flips flipped = flips(reference.right, method.right);
  Json json = {{"name", method.method.name},
               {"config", to_string(method.method.config)},
               {"right", right_count(method.right)},
               {"accuracy", accuracy(method.right)},
               {"right_share", method.right_share},
               {"losses", flipped.losses.size()},
               {"gains", flipped.gains.size()},
               {"lost_questions", flipped.losses},
               {"gained_questions", flipped.gains},
               {"answer_nll", answer_nll(method)},
               {"kept", method.kept},
               {"seconds", method.seconds}};
  if (is_ranked(method)) {
    json["top_1"] = top_share(method.ranks, 1);
    json["top_5"] = top_share(method.ranks, 5);
  }
  return json;
}

Json question_json(size_t index, const AskedQuestion& asked,
                   const std::vector<MethodAnswers>& methods) {
  Json json = {{"question", asked.question->text},
               {"expected", asked.question->expected},
               {"group", asked.question->group},
               {"depth", asked.question->depth},
               {"context", asked.prompt->length}};
  for (const MethodAnswers& method : methods) {
    json["answers"][method.method.name] = {
        {"text", shown_answer(*asked.question, method.answers[index])},
        {"right", static_cast<bool>(method.right[index])},
        {"nll", method.nlls[index]}};
    if (method.ranks[index] > 0) {
      json["answers"][method.method.name]["rank"] = method.ranks[index];
    }
  }
  return json;
}

Json answers_json(const EvalFacts& facts, bool chat, const std::vector<AskedQuestion>& questions,
                  const std::vector<MethodAnswers>& methods) {
  Json json = start_json(facts);
  json["chat"] = chat;
  json["questions_asked"] = questions.size();
  if (facts.task == "needle" && facts.facts > 0) json["facts"] = facts.facts;
  if (facts.task == "recite") json["passage"] = facts.passage;
  const MethodAnswers& reference = methods.front();
  json["accuracy_dense"] = accuracy(reference.right);
  json["answer_nll_dense"] = answer_nll(reference);
  for (const MethodAnswers& method : methods) {
    if (method.method.name != kHeadline) continue;
    const Flips flipped = flips(reference.right, method.right);
    json["accuracy_shadow"] = accuracy(method.right);
    json["answer_nll_shadow"] = answer_nll(method);
    json["losses"] = flipped.losses.size();
    json["gains"] = flipped.gains.size();
    json["kept"] = method.kept;
  }
  json["methods"] = Json::array();
  for (const MethodAnswers& method : methods) {
    json["methods"].push_back(method_json(reference, method));
  }
  json["questions"] = Json::array();
  for (size_t i = 0; i < questions.size(); ++i) {
    json["questions"].push_back(question_json(i, questions[i], methods));
  }
  return json;
}

// What was asked, where an option decides it.
std::string kind_of_question(const EvalFacts& facts) {
  if (facts.task == "needle" && facts.facts > 0) {
    return " about one of " + std::to_string(facts.facts) + " facts";
  }
  if (facts.task == "recite") return ", passages of " + std::to_string(facts.passage) + " tokens";
  return "";
}

std::string overview_note(const EvalFacts& facts, size_t questions, bool chat) {
  return std::to_string(questions) + " questions" + kind_of_question(facts) + ", " +
         (chat ? "through the model's chat template" : "as a text to be continued") +
         ". Losses: right by dense attention, wrong by the method; gains: the other way. "
         "Nats per token: -ln p of the expected answers, the less the likelier.";
}

}  // namespace

Report answers_report(const EvalFacts& facts, bool chat, const std::vector<Prompt>& prompts,
                      const std::vector<MethodAnswers>& methods) {
  const std::vector<AskedQuestion> questions = asked_questions(prompts);
  Report report;
  report.page = start_page(title_of(facts.task), facts);
  std::vector<Bar> accuracies;
  for (const MethodAnswers& method : methods) {
    const double share = accuracy(method.right);
    accuracies.push_back({method.method.name, share, format_percent(share)});
  }
  report.page.sections.push_back(
      {"", overview_note(facts, questions.size(), chat), overview(methods), bars(accuracies)});
  if (Grid ranks = rank_grid(methods); !ranks.empty()) {
    report.page.sections.push_back(
        {"Rank of the expected answer among those offered, by likelihood", "", std::move(ranks)});
  }
  report.page.sections.push_back({"Right answers by length", "", parts(questions, methods)});
  if (facts.task != "count") add_heat_maps(questions, methods, report.page);
  for (size_t i = 1; i < methods.size(); ++i) {
    Grid grid = flip_grid(questions, methods.front(), methods[i]);
    if (grid.empty()) continue;
    report.page.sections.push_back(
        {"Answers that flipped: " + methods[i].method.name, "", std::move(grid)});
  }
  report.json = answers_json(facts, chat, questions, methods);
  return report;
}

}  // namespace shadowattn::tool::eval
