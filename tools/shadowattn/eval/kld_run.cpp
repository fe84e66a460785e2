#include "kld_run.h"

#include <algorithm>
#include <memory>

#include "failure.h"
#include "progress.h"
#include "shadowattn/executor.h"
#include "text.h"

namespace shadowattn::tool::eval {
namespace {

constexpr int64_t kFirstLength = 2048;

class LengthRun {
 public:
  LengthRun(const Workplace& workplace, const std::vector<Method>& methods, int64_t length,
            Executor& executor)
      : workplace_(workplace), executor_(executor) {
    result_.context = length;
    for (const Method& method : methods) {
      contexts_.push_back(std::make_unique<MethodContext>(workplace, method, length));
      if (contexts_.size() > 1) result_.methods.push_back({method, {}, 1, 0});
    }
  }

  // `on_step` gets the number of tokens of each step, over all methods.
  template <typename OnStep>
  void read(const std::vector<llama_token>& window, const OnStep& on_step) {
    for (const auto& context : contexts_) context->truncate(0);
    const auto step = static_cast<size_t>(workplace_.ubatch);
    for (size_t start = 0; start < window.size(); start += step) {
      const size_t count = std::min(step, window.size() - start);
      const size_t half = window.size() / 2;
      const size_t first = std::clamp(half, start, start + count) - start;
      for (const auto& context : contexts_) {
        context->append_scored(std::span(window).subspan(start, count), first);
        on_step(count);
      }
      // The last token of a window has no successor in it.
      const size_t last = std::min(start + count, window.size() - 1) - start;
      if (first < last) compare(std::span(window).subspan(start), first, last);
    }
    ++result_.windows;
  }

  KldLength finish() {
    result_.reference_seconds = contexts_.front()->seconds();
    contexts_.front()->kept_share();  // throws when it was not the plug-in that computed
    for (size_t i = 0; i < result_.methods.size(); ++i) {
      result_.methods[i].kept = contexts_[i + 1]->kept_share();
      result_.methods[i].seconds = contexts_[i + 1]->seconds();
    }
    return std::move(result_);
  }

 private:
  // Tokens `first` … `last` - 1 of the last step; `tokens` are those from the step's first on.
  void compare(std::span<const llama_token> tokens, size_t first, size_t last) {
    for (size_t i = 0; i < result_.methods.size(); ++i) {
      std::vector<std::span<const float>> reference;
      std::vector<std::span<const float>> other;
      for (size_t row = first; row < last; ++row) {
        reference.push_back(contexts_.front()->llama().logits(row));
        other.push_back(contexts_[i + 1]->llama().logits(row));
      }
      std::vector<TokenComparison>& all = result_.methods[i].tokens;
      const size_t before = all.size();
      all.resize(before + reference.size());
      executor_.run(static_cast<int64_t>(reference.size()), [&](int64_t index, int /*thread*/) {
        const auto row = static_cast<size_t>(index);
        all[before + row] = compare_logits(reference[row], other[row],
                                           static_cast<size_t>(tokens[first + row + 1]));
      });
    }
  }

  const Workplace& workplace_;
  Executor& executor_;
  std::vector<std::unique_ptr<MethodContext>> contexts_;  // the reference first
  KldLength result_;
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

std::vector<int64_t> window_lengths(int64_t context) {
  std::vector<int64_t> lengths;
  for (int64_t length = kFirstLength; length < context; length *= 2) lengths.push_back(length);
  lengths.push_back(context);
  return lengths;
}

std::vector<int64_t> window_starts(int64_t tokens, int64_t length, int count) {
  const int64_t fitting = tokens / length;
  const int64_t number = std::min<int64_t>(count, fitting);
  std::vector<int64_t> starts;
  for (int64_t i = 0; i < number; ++i) starts.push_back(i * fitting / number * length);
  return starts;
}

std::vector<KldLength> run_kld(const Workplace& workplace, const std::vector<Method>& methods,
                               std::span<const llama_token> text, const KldOptions& options) {
  const std::vector<llama_token> start = workplace.model.start_tokens();
  const auto before = static_cast<int64_t>(start.size());
  const auto available = static_cast<int64_t>(text.size());
  check_window(workplace, available + before, options.context);
  const std::unique_ptr<Executor> executor = make_thread_pool(workplace.threads);
  if (executor == nullptr) throw Failure("the threads cannot be started; give a smaller -t");

  const std::vector<int64_t> lengths = window_lengths(options.context);
  const auto starts_of = [&](int64_t length) {
    return window_starts(available, length - before, options.windows);
  };
  int64_t total = 0;
  for (const int64_t length : lengths) {
    total += length * static_cast<int64_t>(starts_of(length).size() * methods.size());
  }
  Progress progress("", total, "tokens");
  int64_t done = 0;
  std::vector<KldLength> results;
  for (const int64_t length : lengths) {
    progress.set_label("context " + format_count(length));
    LengthRun run(workplace, methods, length, *executor);
    for (const int64_t from : starts_of(length)) {
      std::vector<llama_token> window = start;
      const auto part =
          text.subspan(static_cast<size_t>(from), static_cast<size_t>(length - before));
      window.insert(window.end(), part.begin(), part.end());
      run.read(window, [&](size_t count) {
        done += static_cast<int64_t>(count);
        progress.update(done);
      });
    }
    results.push_back(run.finish());
  }
  return results;
}

}  // namespace shadowattn::tool::eval
