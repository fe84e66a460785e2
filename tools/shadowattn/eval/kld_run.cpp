#include "eval/kld_run.h"

#include <algorithm>
#include <memory>

#include "common/failure.h"
#include "common/progress.h"
#include "common/text.h"
#include "shadowattn/executor.h"

namespace shadowattn::tool::eval {
namespace {

constexpr int64_t kLogitBytes = int64_t{1}
                                << 30;  // of all methods together; llama.cpp holds them twice
constexpr int64_t kUbatchStep = 64;     // lists of several rows are not cut

// Reads windows by all methods in step, and takes stock where a length is reached.
class WindowReader {
 public:
  WindowReader(const Workplace& workplace, const std::vector<Method>& methods, int64_t context,
               Executor& executor)
      : executor_(executor),
        context_(context),
        lengths_(window_lengths(context)),
        ends_(step_ends(context, workplace.ubatch)),
        first_scored_(scored_rows(lengths_.front(), context).first) {
    for (const Method& method : methods) {
      contexts_.push_back(std::make_unique<MethodContext>(workplace, method, context));
    }
    for (const int64_t length : lengths_) {
      results_.push_back({length, 0, {}, 0});
      for (size_t i = 1; i < methods.size(); ++i) {
        results_.back().methods.push_back({methods[i], {}, 1, 0});
      }
      work_.emplace_back(methods.size());
    }
  }

  // `on_step` gets the number of tokens of each step, over all methods.
  template <typename OnStep>
  void read(std::span<const llama_token> window, const OnStep& on_step) {
    std::vector<Work> before;
    for (const auto& context : contexts_) {
      context->truncate(0);
      before.push_back(context->work());
    }
    rows_.clear();
    int64_t start = 0;
    size_t length = 0;
    for (const int64_t end : ends_) {
      const int64_t first = std::clamp(first_scored_, start, end);
      const auto step =
          window.subspan(static_cast<size_t>(start), static_cast<size_t>(end - start));
      for (const auto& context : contexts_) {
        context->append_scored(step, static_cast<size_t>(first - start));
        on_step(step.size());
      }
      compare(window, start, {first, std::min(end, context_ - 1)});
      if (end == lengths_[length]) take_stock(length++, before);
      start = end;
    }
  }

  std::vector<KldLength> finish() {
    for (const auto& context : contexts_) {
      context->kept_share();  // throws when it was not the plug-in that computed
    }
    for (size_t length = 0; length < results_.size(); ++length) {
      KldLength& result = results_[length];
      result.reference_seconds = work_[length].front().seconds;
      for (size_t i = 0; i < result.methods.size(); ++i) {
        result.methods[i].kept = work_[length][i + 1].kept_share();
        result.methods[i].seconds = work_[length][i + 1].seconds;
      }
    }
    return std::move(results_);
  }

 private:
  size_t others() const { return contexts_.size() - 1; }

  // These rows of the last step, which began at row `start`.
  void compare(std::span<const llama_token> window, int64_t start, const ScoredRows& rows) {
    if (rows.first >= rows.end) return;
    std::vector<std::span<const float>> logits;  // [row][method]
    for (int64_t row = rows.first; row < rows.end; ++row) {
      for (const auto& context : contexts_) {
        logits.push_back(context->llama().logits(static_cast<size_t>(row - start)));
      }
    }
    const size_t before = rows_.size();
    rows_.resize(before + static_cast<size_t>(rows.end - rows.first) * others());
    executor_.run(rows.end - rows.first, [&](int64_t index, int /*thread*/) {
      const auto row = static_cast<size_t>(index);
      const auto of_row = std::span(logits).subspan(row * contexts_.size(), contexts_.size());
      const auto token = window[static_cast<size_t>(rows.first + index + 1)];
      compare_logits(of_row.front(), of_row.subspan(1), static_cast<size_t>(token),
                     std::span(rows_).subspan(before + row * others(), others()));
    });
  }

  // The window has been read up to this length; `before`: what was done before it.
  void take_stock(size_t length, const std::vector<Work>& before) {
    KldLength& result = results_[length];
    ++result.windows;
    for (size_t i = 0; i < contexts_.size(); ++i) {
      work_[length][i] += contexts_[i]->work() - before[i];
    }
    const ScoredRows scored = scored_rows(result.context, context_);
    for (int64_t row = scored.first; row < scored.end; ++row) {
      const auto place = static_cast<size_t>(row - first_scored_) * others();
      for (size_t i = 0; i < others(); ++i) result.methods[i].tokens.push_back(rows_[place + i]);
    }
  }

  Executor& executor_;
  int64_t context_;
  std::vector<int64_t> lengths_;
  std::vector<int64_t> ends_;                             // of steps
  int64_t first_scored_;                                  // row
  std::vector<std::unique_ptr<MethodContext>> contexts_;  // the reference first
  std::vector<TokenComparison> rows_;    // of this window: [row from first_scored_ on][method]
  std::vector<KldLength> results_;       // [length]
  std::vector<std::vector<Work>> work_;  // [length][context]: of all windows up to this length
};

}  // namespace

void check_window(const Workplace& workplace, int64_t available, int64_t context) {
  if (context > workplace.model.train_context()) {
    throw Failure("windows of " + format_count(context) + " tokens are longer than the model's " +
                  "context of " + format_count(workplace.model.train_context()) +
                  "; give a smaller -c");
  }
  if (available >= context) return;
  throw Failure("the text has only " + format_count(available) + " tokens, less than one window " +
                "of " + format_count(context) + "; give a longer text or a smaller -c");
}

Workplace with_bounded_logits(const Workplace& workplace, size_t contexts, int64_t bytes) {
  Workplace bounded = workplace;
  const int64_t row =
      int64_t{workplace.model.vocabulary()} * static_cast<int64_t>(sizeof(float) * contexts);
  const int64_t most = std::max(bytes / row / kUbatchStep, int64_t{1}) * kUbatchStep;
  bounded.ubatch = static_cast<int>(std::min<int64_t>(workplace.ubatch, most));
  return bounded;
}

std::vector<KldLength> run_kld(const Workplace& workplace, const std::vector<Method>& methods,
                               std::span<const llama_token> text, const KldOptions& options) {
  const std::vector<llama_token> start = workplace.model.start_tokens();
  const auto before = static_cast<int64_t>(start.size());
  const auto available = static_cast<int64_t>(text.size());
  check_window(workplace, available + before, options.context);
  const std::unique_ptr<Executor> executor = make_thread_pool(workplace.threads);
  if (executor == nullptr) throw Failure("the threads cannot be started; give a smaller -t");

  const int64_t length = options.context - before;
  const std::vector<int64_t> starts = window_starts(available, length, options.windows);
  const size_t tokens = static_cast<size_t>(options.context) * starts.size() * methods.size();
  Progress progress("reading", static_cast<int64_t>(tokens), "tokens");
  int64_t done = 0;
  const Workplace bounded = with_bounded_logits(workplace, methods.size(), kLogitBytes);
  WindowReader reader(bounded, methods, options.context, *executor);
  for (const int64_t from : starts) {
    std::vector<llama_token> window = start;
    const auto part = text.subspan(static_cast<size_t>(from), static_cast<size_t>(length));
    window.insert(window.end(), part.begin(), part.end());
    reader.read(window, [&](size_t count) {
      done += static_cast<int64_t>(count);
      progress.update(done);
    });
  }
  return reader.finish();
}

}  // namespace shadowattn::tool::eval
