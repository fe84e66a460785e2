#include "demo_report.h"

#include "statistics.h"
#include "text.h"

namespace shadowattn::tool {
namespace {

using nlohmann::json;

bool right(const DemoResult& result, const Side& side, size_t fact) {
  return contains_word(side.answers[fact], result.reading.text.facts[fact].value);
}

int64_t right_answers(const DemoResult& result, const Side& side) {
  int64_t count = 0;
  for (size_t i = 0; i < side.answers.size(); ++i) count += right(result, side, i) ? 1 : 0;
  return count;
}

int64_t equal_answers(const Side& a, const Side& b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.answers.size(); ++i) count += a.answers[i] == b.answers[i] ? 1 : 0;
  return count;
}

double prompt_tokens(const Reading& reading) {
  return static_cast<double>(reading.prefix.size() + reading.questions[0].size());
}

std::string out_of(int64_t count, size_t total) {
  return format_count(count) + " of " + std::to_string(total);
}

std::string title(const Side& side) {
  return side.config.enabled ? "shadowattn, " + side.name : side.name;
}

// Answers can be long sentences; the table shows how they begin.
std::string cell(const std::string& answer, bool is_right) {
  constexpr size_t kWidth = 28;
  const std::string text = answer.size() > kWidth
                               ? repair_utf8(answer.substr(0, kWidth)).text + "..."
                           : answer.empty() ? "(nothing)"
                                            : answer;
  return is_right ? text : text + " (wrong)";
}

std::string answers_table(const DemoResult& result) {
  const std::vector<Fact>& facts = result.reading.text.facts;
  Table table;
  std::vector<std::string> header = {"depth", "the code of", "is"};
  for (const Side& side : result.sides) header.push_back(title(side));
  table.add_row(header);
  for (size_t i = 0; i < facts.size(); ++i) {
    std::vector<std::string> row = {format_fixed(100 * facts[i].depth, 0) + " %", facts[i].key,
                                    facts[i].value};
    for (const Side& side : result.sides) {
      row.push_back(cell(side.answers[i], right(result, side, i)));
    }
    table.add_row(std::move(row));
  }
  std::vector<std::string> sums = {"", "right", ""};
  for (const Side& side : result.sides) {
    sums.push_back(out_of(right_answers(result, side), facts.size()));
  }
  table.add_row(std::move(sums));
  return table.text();
}

std::string times_table(const DemoResult& result) {
  const double baseline = median(result.sides.front().first_token_seconds);
  Table table;
  std::vector<std::string> header = {""};
  std::vector<std::string> first = {"first token after"};
  std::vector<std::string> rate = {"prefill, tokens/s"};
  std::vector<std::string> speed = {"times as fast"};
  std::vector<std::string> kept = {"attended to"};
  for (const Side& side : result.sides) {
    const double seconds = median(side.first_token_seconds);
    header.push_back(title(side));
    first.push_back(format_seconds(seconds));
    rate.push_back(format_rate(prompt_tokens(result.reading) / seconds));
    speed.push_back(format_fixed(baseline / seconds, 2));
    kept.push_back(side.config.enabled ? format_percent(attention_totals(side.report).kept_share())
                                       : format_percent(1));
  }
  for (auto* row : {&header, &first, &rate, &speed, &kept}) table.add_row(*row);
  table.align_right_from(1);
  return table.text();
}

}  // namespace

std::string demo_text(const DemoResult& result) {
  const Side& baseline = result.sides.front();
  const Side& shadow = result.sides.back();
  const size_t facts = result.reading.text.facts.size();
  std::string text = "\n" + result.model + " has read " +
                     format_count(static_cast<int64_t>(result.reading.prefix.size())) +
                     " tokens with " + std::to_string(facts) + " facts hidden in them; " +
                     std::to_string(result.threads) + " threads\n\n";
  text += answers_table(result) + "\n" + times_table(result) + "\n";
  text += "Same answer with shadow attention as with llama.cpp's own: " +
          out_of(equal_answers(baseline, shadow), facts) + "\n";
  text += result.runs > 1 ? "Times: medians of " + std::to_string(result.runs) +
                                " runs, taken in turns after a warm-up\n"
                          : "Times: one run each, after a warm-up\n";
  return text;
}

json demo_json(const DemoResult& result) {
  json all;
  all["model"] = result.model;
  all["tokens"] = result.reading.prefix.size();
  all["threads"] = result.threads;
  all["runs"] = result.runs;
  for (const Fact& fact : result.reading.text.facts) {
    all["facts"].push_back({{"key", fact.key}, {"value", fact.value}, {"depth", fact.depth}});
  }
  for (const Side& side : result.sides) {
    const AttentionTotals totals = attention_totals(side.report);
    all["sides"].push_back({{"name", side.name},
                            {"config", to_string(side.config)},
                            {"first_token_s", median(side.first_token_seconds)},
                            {"all_first_token_s", side.first_token_seconds},
                            {"calls", totals.calls},
                            {"kept_share", totals.kept_share()},
                            {"right", right_answers(result, side)},
                            {"same_as_llama_cpp", equal_answers(result.sides.front(), side)},
                            {"answers", side.answers}});
  }
  return all;
}

}  // namespace shadowattn::tool
