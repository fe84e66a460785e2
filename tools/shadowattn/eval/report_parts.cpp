#include "eval/report_parts.h"

#include <cmath>
#include <cstdio>

#include "common/text.h"

namespace shadowattn::tool::eval {

std::string small_number(double value) {
  if (!std::isfinite(value)) return "-";
  if (value == 0 || std::fabs(value) >= 0.001) return format_fixed(value, 5);
  char text[32];
  std::snprintf(text, sizeof(text), "%.1e", value);
  return text;
}

std::string fine_percent(double share) {
  return std::isfinite(share) ? format_fixed(100 * share, 2) + " %" : "-";
}

Page start_page(const std::string& title, const EvalFacts& facts) {
  Page page;
  page.title = title;
  page.facts = {
      "model: " + facts.model + " (" + facts.description + ")",
      "text: " + (facts.text.empty() ? "made up, seed " + std::to_string(facts.seed) : facts.text),
      "context: " + format_count(facts.context) +
          " tokens; shadow: " + setting_text({facts.output_error, facts.attn_error, facts.keep}) +
          "; threads: " + std::to_string(facts.threads)};
  return page;
}

nlohmann::ordered_json start_json(const EvalFacts& facts) {
  return {{"eval", 1},
          {"task", facts.task},
          {"model", facts.model},
          {"model_description", facts.description},
          {"text", facts.text},
          {"context", facts.context},
          {"trials", facts.trials},
          {"seed", facts.seed},
          {"threads", facts.threads},
          {"output_error", facts.output_error},
          {"attn_error", facts.attn_error},
          {"keep", facts.keep}};
}

}  // namespace shadowattn::tool::eval
