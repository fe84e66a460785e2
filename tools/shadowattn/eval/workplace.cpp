#include "eval/workplace.h"

#include <chrono>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/summary.h"

namespace shadowattn::tool::eval {

void throw_interrupted() { throw Failure("interrupted", interrupted_status()); }

Work& Work::operator+=(const Work& more) {
  calls += more.calls;
  visible_pairs += more.visible_pairs;
  kept_pairs += more.kept_pairs;
  seconds += more.seconds;
  return *this;
}

Work Work::operator-(const Work& before) const {
  return {calls - before.calls, visible_pairs - before.visible_pairs,
          kept_pairs - before.kept_pairs, seconds - before.seconds};
}

double Work::kept_share() const {
  if (visible_pairs == 0) return 1;
  return static_cast<double>(kept_pairs) / static_cast<double>(visible_pairs);
}

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
template <typename Append>
void MethodContext::run(const Append& append) {
  using Clock = std::chrono::steady_clock;
  workplace_.plugin.configure(method_.config);
  workplace_.plugin.reset_report();
  const Clock::time_point start = Clock::now();
  const bool done = append();
  work_.seconds += std::chrono::duration<double>(Clock::now() - start).count();
  if (!done) throw_interrupted();
  const AttentionTotals totals = attention_totals(workplace_.plugin.report());
  work_ += {totals.calls, totals.visible_pairs, totals.kept_pairs, 0};
}

void MethodContext::append(std::span<const llama_token> tokens) {
  run([&] { return context_->append(tokens); });
}

void MethodContext::append_scored(std::span<const llama_token> tokens, size_t first) {
  run([&] { return context_->append_scored(tokens, first); });
}

double MethodContext::kept_share() const {
  if (!method_.config.enabled) return 1;
  if (work_.calls == 0) {
    throw Failure("the plug-in computed no attention of this model by " + method_.name +
                  ", so there is nothing to compare; see why with `shadowattn run --report`");
  }
  return work_.kept_share();
}

}  // namespace shadowattn::tool::eval
