#include "demo/report.h"

#include <algorithm>

#include "common/statistics.h"
#include "common/summary.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

using nlohmann::json;

// Above these the machine was busy, and one should know; and above these times mean nothing.
constexpr double kNotedLoad = 0.05;
constexpr double kNotedSpread = 0.1;
constexpr double kMeaninglessLoad = 0.25;
constexpr double kMeaninglessSpread = 0.3;

bool judged(const DemoResult& result) {
  return std::any_of(result.reading.questions.begin(), result.reading.questions.end(),
                     [](const Question& question) { return !question.expected.empty(); });
}

int64_t right_answers(const DemoResult& result, const Side& side) {
  int64_t count = 0;
  for (size_t i = 0; i < side.answers.size(); ++i) {
    count += is_right(result.reading.questions[i], side.answers[i]) ? 1 : 0;
  }
  return count;
}

double prefill_seconds(const Side& side) {
  double sum = 0;
  for (const double seconds : side.chunk_seconds) sum += seconds;
  return sum;
}

// How far chunks are from the straight line that attention over ever more tokens makes of them; the
// last one is shorter.
double spread(const Side& side) {
  std::vector<double> whole = side.chunk_seconds;
  if (!whole.empty()) whole.pop_back();
  return spread_about_line(whole);
}

double largest_spread(const DemoResult& result) {
  double largest = 0;
  for (const Side& side : result.sides) largest = std::max(largest, spread(side));
  return largest;
}

bool times_mean_nothing(const DemoResult& result) {
  return (result.other_load && result.other_load->sum() > kMeaninglessLoad) ||
         largest_spread(result) > kMeaninglessSpread;
}

std::string times_note(const DemoResult& result) {
  const double load = result.other_load ? result.other_load->sum() : 0;
  const double spread = largest_spread(result);
  if (load <= kNotedLoad && spread <= kNotedSpread) return "";
  std::string note = load > kNotedLoad ? "The machine was busy while this was measured: "
                                       : "Times were uneven while this was measured: ";
  if (result.other_load) {
    note += format_percent(result.other_load->programs) + " of its time went to other programs, " +
            format_percent(result.other_load->stolen) + " to other machines on its host; ";
  }
  note +=
      "chunks of the text took up to " + format_percent(spread) + " more or less than expected.";
  return note + (times_mean_nothing(result)
                     ? "\nTimes mean nothing then; run it again when the machine is quiet.\n"
                     : "\n");
}

std::string table(const DemoResult& result) {
  const Side& baseline = result.sides.front();
  const auto tokens = static_cast<double>(result.reading.prefix.size());
  const bool meaningless = times_mean_nothing(result);
  std::vector<std::vector<std::string>> rows = {{""},
                                                {"first token after"},
                                                {"prefill, tokens/s"},
                                                {"times as fast"},
                                                {"attended to"},
                                                {"KL divergence"},
                                                {"same likeliest token"}};
  if (judged(result)) rows.push_back({"right answers"});
  for (const Side& side : result.sides) {
    const double ratio = prefill_seconds(baseline) / prefill_seconds(side);
    std::vector<std::string> cells = {
        side.method.config.enabled ? "shadowattn, " + side.method.name : side.method.name,
        format_seconds(side.first_token_seconds),
        format_rate(tokens / prefill_seconds(side)),
        meaningless ? "-" : format_fixed(ratio, 2),
        format_percent(side.kept),
        format_fixed(side.distance.kld.value, 4),
        format_percent(side.distance.same_top.value)};
    if (judged(result)) {
      cells.push_back(format_count(right_answers(result, side)) + " of " +
                      std::to_string(side.answers.size()));
    }
    for (size_t i = 0; i < rows.size(); ++i) rows[i].push_back(cells[i]);
  }
  Table table;
  for (std::vector<std::string>& row : rows) table.add_row(std::move(row));
  table.align_right_from(1);
  return table.text();
}

// "  dense, shadow   …": sides with the same answer on one line.
std::string answers(const DemoResult& result, size_t index) {
  const Question& question = result.reading.questions[index];
  std::vector<std::pair<std::string, std::string>> groups;  // names, answer
  for (const Side& side : result.sides) {
    const std::string& answer = side.answers[index];
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const auto& one) { return one.second == answer; });
    if (group == groups.end()) {
      groups.emplace_back(side.method.name, answer);
    } else {
      group->first += ", " + side.method.name;
    }
  }
  std::string text = std::to_string(index + 1) + ". " + question.text + "\n";
  for (const auto& [names, answer] : groups) {
    text += "   " + names + ": " + (question.start.empty() ? "" : "… ") +
            (answer.empty() ? "(nothing)" : answer);
    if (!question.expected.empty()) text += is_right(question, answer) ? "" : "  (wrong)";
    text += "\n";
  }
  return text;
}

}  // namespace

std::string demo_text(const DemoResult& result) {
  const Side& host = result.sides.front();
  std::string text = "\n";
  for (size_t i = 0; i < result.reading.questions.size(); ++i) text += answers(result, i);
  text += "\n" + result.model + " (" + result.description + ") has read " +
          format_count(static_cast<int64_t>(result.reading.prefix.size())) + " tokens of " +
          result.reading.document + "; " + std::to_string(result.threads) + " threads\n\n";
  text += table(result) + "\n" + times_note(result);
  text +=
      "KL divergence, likeliest token: of the next-token probabilities of the last " +
      format_count(result.scored_tokens) +
      " tokens, from those of\ndense attention in f32. llama.cpp's own rounding moves them by " +
      format_fixed(host.distance.kld.value, 4) +
      "; what is not much above that, nobody\ncan tell apart.\n";
  return text;
}

json demo_json(const DemoResult& result) {
  json all = {{"model", result.model},
              {"model_description", result.description},
              {"document", result.reading.document},
              {"chat", result.reading.chat},
              {"tokens", result.reading.prefix.size()},
              {"threads", result.threads},
              {"scored_tokens", result.scored_tokens},
              {"other_programs", nullptr},
              {"stolen", nullptr},
              {"spread", largest_spread(result)},
              {"questions", json::array()},
              {"sides", json::array()}};
  if (result.other_load) {
    all["other_programs"] = result.other_load->programs;
    all["stolen"] = result.other_load->stolen;
  }
  for (const Question& question : result.reading.questions) {
    all["questions"].push_back(
        {{"text", question.text}, {"start", question.start}, {"expected", question.expected}});
  }
  for (const Side& side : result.sides) {
    all["sides"].push_back({{"name", side.method.name},
                            {"config", to_string(side.method.config)},
                            {"first_token_s", side.first_token_seconds},
                            {"prefill_s", prefill_seconds(side)},
                            {"chunk_s", side.chunk_seconds},
                            {"spread", spread(side)},
                            {"kept_share", side.kept},
                            {"mean_kld", side.distance.kld.value},
                            {"mean_kld_error", side.distance.kld.error},
                            {"same_top_p", side.distance.same_top.value},
                            {"right", right_answers(result, side)},
                            {"answers", side.answers}});
  }
  return all;
}

}  // namespace shadowattn::tool
