#include "workplace.h"

#include <chrono>

#include "failure.h"
#include "interrupt.h"
#include "summary.h"

namespace shadowattn::tool::eval {

void throw_interrupted() { throw Failure("interrupted", interrupted_status()); }

MethodContext::MethodContext(const Workplace& workplace, const Method& method, int64_t tokens)
    : workplace_(workplace), method_(method) {
  workplace.plugin.configure(method.config);
  ContextOptions options;
  options.tokens = tokens;
  options.ubatch = workplace.ubatch;
  options.threads = workplace.threads;
  context_ = std::make_unique<LlamaContext>(workplace.runtime, workplace.model, options);
}

// The plug-in has one configuration and one report; both are this context's while it computes.
template <typename Work>
void MethodContext::run(const Work& work) {
  using Clock = std::chrono::steady_clock;
  workplace_.plugin.configure(method_.config);
  workplace_.plugin.reset_report();
  const Clock::time_point start = Clock::now();
  const bool done = work();
  seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  if (!done) throw_interrupted();
  const AttentionTotals totals = attention_totals(workplace_.plugin.report());
  calls_ += totals.calls;
  visible_pairs_ += totals.visible_pairs;
  kept_pairs_ += totals.kept_pairs;
}

void MethodContext::append(std::span<const llama_token> tokens) {
  run([&] { return context_->append(tokens); });
}

void MethodContext::append_scored(std::span<const llama_token> tokens, size_t first) {
  run([&] { return context_->append_scored(tokens, first); });
}

double MethodContext::kept_share() const {
  if (!method_.config.enabled) return 1;
  if (calls_ == 0) {
    throw Failure("the plug-in computed no attention of this model by " + method_.name +
                  ", so there is nothing to compare; see why with `shadowattn run --report`");
  }
  if (visible_pairs_ == 0) return 1;
  return static_cast<double>(kept_pairs_) / static_cast<double>(visible_pairs_);
}

}  // namespace shadowattn::tool::eval
