// shadowattn-lab paper: the paper's experiments, run again here, beside the published figures.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "common/attention_options.h"
#include "common/checksum.h"
#include "common/failure.h"
#include "common/files.h"
#include "common/input.h"
#include "common/interrupt.h"
#include "common/machine.h"
#include "common/model_identity.h"
#include "common/text.h"
#include "common/version.h"
#include "lab/subcommands.h"
#include "paper/report.h"
#include "paper/results.h"

namespace shadowattn::tool {
namespace {

using namespace paper;
using Clock = std::chrono::steady_clock;

struct PaperOptions {
  std::string model;  // empty: the default
  std::vector<std::string> documents;
  std::string folder = "report";
  std::vector<std::string> only;
  bool quick = false;
  bool fresh = false;
  bool list = false;
  int threads = default_threads();
  int ubatch = 512;
  uint64_t seed = 1;
};

std::string experiment_names() {
  std::string names;
  for (const Experiment& experiment : experiments()) {
    names.append(names.empty() ? "" : ", ").append(experiment.id);
  }
  return names;
}

bool is_experiment(const std::string& id) {
  return std::any_of(experiments().begin(), experiments().end(),
                     [&](const Experiment& experiment) { return experiment.id == id; });
}

bool is_wanted(const PaperOptions& options, const std::string& id) {
  return options.only.empty() ||
         std::find(options.only.begin(), options.only.end(), id) != options.only.end();
}

// What a person would type; -o and --only aside.
std::string command_line(const PaperOptions& options) {
  std::string line = "shadowattn-lab paper";
  if (!options.model.empty()) line += " -m " + options.model;
  for (const std::string& document : options.documents) line += " -f " + document;
  if (options.quick) line += " --quick";
  line += " -t " + std::to_string(options.threads);
  if (options.ubatch != PaperOptions().ubatch) line += " -b " + std::to_string(options.ubatch);
  if (options.seed != PaperOptions().seed) line += " --seed " + std::to_string(options.seed);
  return line;
}

std::vector<Text> read_texts(const PaperOptions& options, const LlamaModel& model) {
  std::vector<std::string> paths = options.documents;
  if (paths.empty()) paths.push_back(document_or_default(""));
  std::vector<Text> texts;
  for (const std::string& path : paths) {
    texts.push_back(
        {std::filesystem::path(path).filename().string(), load_document(path).text, {}});
    texts.back().tokens = model.tokenize(texts.back().content);
  }
  return texts;
}

RunFacts facts_of(const PaperOptions& options, const Workbench& workbench) {
  const LlamaModel& model = workbench.place.model;
  RunFacts facts;
  facts.model = std::filesystem::path(model.path()).filename().string();
  facts.description = model.description();
  facts.model_checksum = identify_model(model.path()).checksum;
  Checksum checksum;
  for (const Text& text : workbench.texts) {
    checksum.add(text.content);
    facts.texts += (facts.texts.empty() ? "" : ", ") + text.name + " (" +
                   format_count(static_cast<int64_t>(text.tokens.size())) + " tokens)";
  }
  facts.texts_checksum = checksum.text();
  facts.machine = describe_machine();
  facts.version = std::string("shadowattn ") + program_version() + ", llama.cpp " + llama_version();
  facts.threads = options.threads;
  facts.ubatch = options.ubatch;
  facts.seed = options.seed;
  facts.quick = options.quick;
  return facts;
}

std::vector<ReportedExperiment> plan(const Workbench& workbench) {
  std::vector<ReportedExperiment> all;
  for (const Experiment& experiment : experiments()) {
    all.push_back({&experiment, experiment.parts(workbench), {}});
  }
  return all;
}

// How long all that is left will take, from the guesses and from how they came true so far.
class TimeLeft {
 public:
  explicit TimeLeft(double guessed) : left_(guessed) {}

  void done(double guessed, double took) {
    left_ -= guessed;
    guessed_ += guessed;
    took_ += took;
  }
  std::string text() const {
    const double pace = (took_ + kTrusted) / (guessed_ + kTrusted);
    return "about " + format_seconds(std::max(left_, 0.0) * pace) + " left";
  }

 private:
  static constexpr double kTrusted = 20;  // seconds: few short parts say little about long ones

  double left_;
  double guessed_ = 0;
  double took_ = 0;
};

class Run {
 public:
  Run(const PaperOptions& options, const Workbench& workbench, std::vector<ReportedExperiment> all,
      Results& results)
      : options_(options),
        workbench_(workbench),
        all_(std::move(all)),
        results_(results),
        command_(command_line(options)) {}

  /// The exit status.
  int run() {
    TimeLeft left(seconds_to_do());
    const size_t count = parts_to_do();
    write_report();
    size_t number = 0;
    for (ReportedExperiment& reported : all_) {
      if (!is_wanted(options_, reported.experiment->id)) continue;
      for (const Part& part : reported.parts) {
        if (results_.has(reported.experiment->id, part.id)) continue;
        std::fprintf(stderr, "[%zu/%zu] %s: %s (%s)\n", ++number, count,
                     reported.experiment->id.c_str(), part.label.c_str(), left.text().c_str());
        const Clock::time_point start = Clock::now();
        if (!measure(reported, part)) return stopped();
        left.done(part.seconds, std::chrono::duration<double>(Clock::now() - start).count());
      }
    }
    return finished();
  }

 private:
  bool to_do(const ReportedExperiment& reported, const Part& part) const {
    return is_wanted(options_, reported.experiment->id) &&
           !results_.has(reported.experiment->id, part.id);
  }
  double seconds_to_do() const {
    double seconds = 0;
    for (const ReportedExperiment& reported : all_) {
      for (const Part& part : reported.parts) seconds += to_do(reported, part) ? part.seconds : 0;
    }
    return seconds;
  }
  size_t parts_to_do() const {
    size_t count = 0;
    for (const ReportedExperiment& reported : all_) {
      for (const Part& part : reported.parts) count += to_do(reported, part) ? 1 : 0;
    }
    return count;
  }

  // False when Ctrl-C came.
  bool measure(ReportedExperiment& reported, const Part& part) {
    Finding finding;
    finding.started = utc_now();
    const Clock::time_point start = Clock::now();
    try {
      finding.values = part.measure(workbench_);
    } catch (const Failure& failure) {
      if (interrupted()) return false;
      reported.failures[part.id] = failure.what();
      std::fprintf(stderr, "shadowattn: warning: %s, %s: %s\n", reported.experiment->id.c_str(),
                   part.label.c_str(), one_line(failure.what()).c_str());
      return true;
    }
    finding.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    results_.add(reported.experiment->id, part.id, std::move(finding));
    write_report();
    return !interrupted();
  }

  std::string page_path() const {
    return (std::filesystem::path(options_.folder) / "index.html").string();
  }
  void write_report() const {
    write_file_atomically(page_path(), to_html(report_page(results_, all_, command_)));
  }

  int stopped() {
    results_.save(command_, false);
    write_report();
    std::fprintf(stderr,
                 "shadowattn: interrupted; what was measured is in %s: the same command goes on\n",
                 options_.folder.c_str());
    return interrupted_status();
  }

  int finished() {
    size_t missing = 0;
    size_t failed = 0;
    for (const ReportedExperiment& reported : all_) {
      failed += reported.failures.size();
      for (const Part& part : reported.parts) {
        missing += results_.has(reported.experiment->id, part.id) ? 0 : 1;
      }
    }
    results_.save(command_, missing == 0);
    write_report();
    std::printf("%s\n%s\n", claims_text(results_, all_).c_str(), page_path().c_str());
    if (failed == 0) return kExitOk;
    throw Failure(std::to_string(failed) + " parts could not be measured; the page says why");
  }

  const PaperOptions& options_;
  const Workbench& workbench_;
  std::vector<ReportedExperiment> all_;
  Results& results_;
  std::string command_;
};

void print_list(const std::vector<ReportedExperiment>& all) {
  eval::Grid grid;
  grid.header = {"experiment", "parts", "time", "what"};
  grid.prose_columns = 1;
  for (const ReportedExperiment& reported : all) {
    double seconds = 0;
    for (const Part& part : reported.parts) seconds += part.seconds;
    grid.rows.push_back({reported.experiment->id, std::to_string(reported.parts.size()),
                         format_seconds(seconds),
                         reported.experiment->title + " (" + reported.experiment->source + ")"});
  }
  std::printf("%s\nTimes are guesses for two cores and bookworm-3m.\n",
              eval::to_markdown(grid).c_str());
}

void make_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error || !std::filesystem::is_directory(folder)) {
    throw Failure("cannot make the folder " + folder + (error ? ": " + error.message() : ""));
  }
  check_writable((std::filesystem::path(folder) / "index.html").string());
}

int run_paper(const PaperOptions& options) {
  const std::string path = model_or_default(options.model);
  check_model_file(path);
  if (!options.list) make_folder(options.folder);
  const InterruptGuard guard;
  LlamaRuntime runtime;
  const PluginControl plugin(runtime);
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  const Workbench workbench{{runtime, plugin, *model, options.threads, options.ubatch},
                            options.quick,
                            effort_for(*model, options.quick),
                            read_texts(options, *model),
                            options.seed};
  std::vector<ReportedExperiment> all = plan(workbench);
  if (options.list) {
    print_list(all);
    return kExitOk;
  }
  const std::string file = (std::filesystem::path(options.folder) / "paper.json").string();
  Results results(file, facts_of(options, workbench), options.fresh);
  return Run(options, workbench, std::move(all), results).run();
}

}  // namespace

Action add_paper(CLI::App& app) {
  const auto options = std::make_shared<PaperOptions>();
  add_model_option(app, options->model);
  app.add_option(
         "-f,--file", options->documents,
         "text to read, a long one; may be given several times [one that comes with shadowattn]")
      ->allow_extra_args(false)
      ->type_name("FILE");
  app.add_option("-o,--output", options->folder,
                 "folder of the report: index.html and paper.json, from which the same command "
                 "goes on after an interruption [report]")
      ->type_name("DIR");
  app.add_flag("--quick", options->quick, "few short texts, some minutes: to see that it works");
  app.add_option("--only", options->only, "only these experiments: " + experiment_names())
      ->delimiter(',')
      ->check([](const std::string& id) {
        return is_experiment(id) ? "" : "no experiment, there are " + experiment_names();
      })
      ->type_name("LIST");
  app.add_flag("--fresh", options->fresh, "measure everything again");
  app.add_flag("--list", options->list, "list the experiments and what they will take");
  add_threads_option(app, options->threads);
  app.add_option("-b,--ubatch", options->ubatch, "tokens processed at once [512]")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("N");
  app.add_option("--seed", options->seed, "of questions [1]")->type_name("N");
  return [options] { return run_paper(*options); };
}

}  // namespace shadowattn::tool
