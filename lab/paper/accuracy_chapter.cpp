#include "paper/accuracy_chapter.h"

#include <algorithm>
#include <cmath>

#include "common/text.h"
#include "eval/plots.h"
#include "paper/published.h"

namespace shadowattn::tool::paper::accuracy {
namespace {

using eval::Grid;
using eval::Section;
// What dense attention does no better than guessing, by so much, cannot be lost.
constexpr double kAbleShare = 0.1;

struct FoundTask {
  const Task* task = nullptr;
  const Json* values = nullptr;

  const Json& method(std::string_view name) const {
    for (const Json& one : values->at("methods")) {
      if (one.at("name") == name) return one;
    }
    return values->at("methods").at(0);
  }
  int64_t questions() const { return values->at("questions"); }
  double share(std::string_view name) const {
    return method(name).at("hits").get<double>() / static_cast<double>(questions());
  }
  double guessed() const { return values->at("guessed"); }
  bool is_able() const { return share(kDense) >= guessed() + kAbleShare; }
};

std::vector<FoundTask> found_tasks(const Findings& findings) {
  std::vector<FoundTask> all;
  for (const Task& task : kTasks) {
    const Json* values = find_part(findings, std::string(task.id));
    if (values != nullptr) all.push_back({&task, values});
  }
  return all;
}

std::string signed_number(double value, int decimals) {
  const std::string text = format_fixed(value, decimals);
  return value < 0 ? text : "+" + text;
}

std::string with_error(double value, double error, int decimals) {
  return signed_number(value, decimals) + " ± " + format_fixed(error, decimals);
}

// A row per task and a column per way to attend.
template <typename Cell>
Grid task_grid(const std::vector<FoundTask>& tasks, const Cell& cell) {
  Grid grid;
  grid.header = {"task", "longest context", "questions"};
  for (const Column& column : kColumns) grid.header.emplace_back(column.name);
  for (const FoundTask& task : tasks) {
    grid.rows.push_back({std::string(task.task->title), format_count(task.values->at("context")),
                         std::to_string(task.questions())});
    for (const Column& column : kColumns) {
      grid.rows.back().push_back(cell(task, task.method(column.name)));
    }
  }
  return grid;
}

Grid accuracy_grid(const std::vector<FoundTask>& tasks) {
  Grid grid = task_grid(tasks, [](const FoundTask& task, const Json& method) {
    return format_percent(method.at("hits").get<double>() / static_cast<double>(task.questions()));
  });
  grid.header.emplace_back("guessing");
  for (size_t i = 0; i < tasks.size(); ++i) {
    grid.rows[i].push_back(format_percent(tasks[i].guessed()));
  }
  return grid;
}

Grid nll_grid(const std::vector<FoundTask>& tasks) {
  return task_grid(tasks, [](const FoundTask&, const Json& method) {
    if (method.at("name") == kDense) return format_fixed(method.at("nll"), 4);
    return with_error(method.at("nll_change"), method.at("nll_change_error"), 4);
  });
}

Grid kept_grid(const std::vector<FoundTask>& tasks) {
  return task_grid(tasks, [](const FoundTask&, const Json& method) {
    return format_percent(method.at("kept"));
  });
}

Grid reading_grid(const Json& values) {
  Grid grid;
  grid.header = {"context", "windows",   "tokens",   "way",        "perplexity",
                 "ratio",   "KLD, nats", "same top", "tokens kept"};
  for (const Json& length : values.at("lengths")) {
    const std::vector<std::string> start = {format_count(length.at("context")),
                                            format_count(length.at("windows")),
                                            format_count(length.at("tokens"))};
    const auto add = [&](std::vector<std::string> cells) {
      grid.rows.push_back(start);
      grid.rows.back().insert(grid.rows.back().end(), cells.begin(), cells.end());
    };
    add({std::string(kDense), format_fixed(length.at("ppl"), 3), "1", "0", "100.0 %", "100.0 %"});
    for (const Json& method : length.at("methods")) {
      add({method.at("name"), format_fixed(method.at("ppl"), 3),
           format_fixed(method.at("ppl_ratio"), 4) + " ± " +
               format_fixed(method.at("ppl_ratio_error"), 4),
           format_fixed(method.at("kld"), 5) + " ± " + format_fixed(method.at("kld_error"), 5),
           format_percent(method.at("same_top")), format_percent(method.at("kept"))});
    }
  }
  return grid;
}

// Of the longest windows.
std::string kld_bars(const Json& values) {
  const Json& lengths = values.at("lengths");
  if (lengths.empty()) return "";
  std::vector<eval::Bar> bars;
  for (const Json& method : lengths.back().at("methods")) {
    const double kld = method.at("kld");
    bars.push_back({method.at("name"), kld, format_fixed(kld, 5) + " nats"});
  }
  return eval::bars(bars);
}

Grid published_grid() {
  Grid grid;
  grid.header = {"model", "task"};
  for (const Column& column : kColumns) {
    if (column.name != kDefaultShadow) grid.header.emplace_back(column.paper_name);
  }
  grid.header.emplace_back("shadowAttn - Full");
  const auto add = [&](const published::Accuracy& row) {
    grid.rows.push_back({std::string(row.model), std::string(row.task)});
    for (const double figure : {row.full, row.sparse, row.block, row.npu, row.shadow}) {
      grid.rows.back().push_back(format_fixed(figure, 1));
    }
    grid.rows.back().push_back(signed_number(row.shadow - row.full, 1));
  };
  for (const published::Accuracy& row : published::kAccuracy) add(row);
  add(published::kMeanAccuracy);
  return grid;
}

double published_mean(std::string_view column) {
  const published::Accuracy& mean = published::kMeanAccuracy;
  if (column == "sparse-f32") return mean.sparse;
  if (column == "block") return mean.block;
  return column == "npu-int8" ? mean.npu : mean.shadow;
}

/// Points of accuracy by a way to attend, over all tasks that dense attention can do.
struct Points {
  int64_t questions = 0;
  std::string tasks;  // "needle, recite"
  double change = 0;
  double error = 0;  // standard
};

Points points_of(const std::vector<FoundTask>& tasks, std::string_view column) {
  Points points;
  double losses = 0;
  double gains = 0;
  for (const FoundTask& task : tasks) {
    if (!task.is_able()) continue;
    points.questions += task.questions();
    points.tasks += (points.tasks.empty() ? "" : ", ") + std::string(task.task->id);
    losses += task.method(column).at("losses").get<double>();
    gains += task.method(column).at("gains").get<double>();
  }
  if (points.questions == 0) return points;
  const auto count = static_cast<double>(points.questions);
  points.change = 100 * (gains - losses) / count;
  // Of a difference in pairs. That no answer flipped does not say that none ever would: one at
  // least.
  const double flips = std::max(losses + gains, 1.0);
  const double square = flips - (gains - losses) * (gains - losses) / count;
  points.error = 100 * std::sqrt(std::max(square, 1.0)) / count;
  return points;
}

std::string remark_on(const Points& points, double published_change) {
  if (points.questions == 0) {
    return "dense attention is hardly better than guessing in every task, so nothing can be lost; "
           "see the likelihoods";
  }
  const double difference = points.change - published_change;
  if (std::fabs(difference) <= 2 * points.error) return "";
  return std::string(difference > 0 ? "less" : "more") +
         " is lost than published, by more than two standard errors. Model and tasks differ; "
         "which of them does it is unexplained";
}

Claim claim_about(const std::vector<FoundTask>& tasks, const Column& column) {
  const double full = published::kMeanAccuracy.full;
  const double other = published_mean(column.name);
  const Points points = points_of(tasks, column.name);
  Claim claim;
  claim.what = "Accuracy against full attention, " + std::string(column.name);
  claim.published = signed_number(other - full, 1) + " points (" + format_fixed(other, 1) +
                    " after " + format_fixed(full, 1) + ", mean of 4 models and 3 tasks)";
  claim.source = "Table 6";
  claim.measured = points.questions == 0
                       ? "-"
                       : with_error(points.change, points.error, 1) + " points (" +
                             format_count(points.questions) + " questions: " + points.tasks + ")";
  claim.remark = remark_on(points, other - full);
  return claim;
}

// Tasks about which the figures say nothing, by name.
std::string ability_note(const std::vector<FoundTask>& tasks) {
  std::string unable;
  for (const FoundTask& task : tasks) {
    if (!task.is_able()) unable += (unable.empty() ? "" : ", ") + std::string(task.task->id);
  }
  const std::string start =
      "Shares of right answers. select: the right name is among the five likeliest of up to 20 "
      "that the list holds. step: the call is right to the letter.";
  if (unable.empty()) return start;
  return start + " Dense attention is less than 10 points better than guessing in: " + unable +
         ". A model that cannot do a task cannot lose it, so these do not count in the table of "
         "claims; the likelihoods below can change.";
}

std::string published_note() {
  return "arXiv 2508.16703, Table 6, on phones, 5-shot: Rouge-L F1 (ArxivSum), top-5 step accuracy "
         "(DroidCall), top-5 selection accuracy (Octopus).\n"
         "What differs here. The model: see the top of this page. The tasks are generated, and "
         "reading texts stands in for ArxivSum. Questions and answers attend by the same way as "
         "the text; the paper decodes densely. All heads keep the same share; the paper gives more "
         "to important ones (without: " +
         signed_number(published::kOneShare - published::kSharePerHead, 1) +
         " points, its ablation on Qwen2-0.5B and Octopus). The estimate is the CPU's, with a "
         "scale per row; the paper's has one of nine pairs of static scales. Nothing here ran on a "
         "phone.";
}

}  // namespace

Chapter write_chapter(const Findings& findings) {
  const std::vector<FoundTask> tasks = found_tasks(findings);
  Chapter chapter;
  const auto add = [&](const std::string& heading, const std::string& note, Grid grid) {
    Section section;
    section.heading = heading;
    section.note = note;
    section.grid = std::move(grid);
    chapter.sections.push_back(std::move(section));
  };
  if (!tasks.empty()) {
    for (const Column& column : kColumns) {
      if (column.name != kDense) chapter.claims.push_back(claim_about(tasks, column));
    }
    add("Right answers", ability_note(tasks), accuracy_grid(tasks));
    add("Likelihood of the expected answers",
        "-ln p of the expected answers, teacher-forced, in nats per token: by dense attention, and "
        "what the others add to it (the less the likelier), ± one standard error over questions.",
        nll_grid(tasks));
    add("Tokens kept", "Share of the (row, token) pairs that the mask lets through.",
        kept_grid(tasks));
  }
  if (const Json* values = find_part(findings, std::string(kReading))) {
    add("Reading texts",
        "The second half of each context is scored. Ratio: of the perplexity, to dense "
        "attention's; "
        "KLD: divergence of the next token's probabilities from dense attention's; ± one standard "
        "error over tokens, taken as independent.",
        reading_grid(*values));
    chapter.sections.back().picture = kld_bars(*values);
  }
  add("Published: Table 6", published_note(), published_grid());
  return chapter;
}

}  // namespace shadowattn::tool::paper::accuracy
