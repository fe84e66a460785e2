#include "paper/workbench.h"

#include <algorithm>
#include <array>

#include "eval/kld_run.h"

namespace shadowattn::tool::paper {
namespace {

constexpr std::array<int64_t, 5> kLengths = {1024, 2048, 4096, 8192, 16384};
constexpr std::array<int64_t, 2> kQuickLengths = {512, 1024};

// Up to so many parameters; a model of 0.1 G reads some 500 tokens a second on two cores.
constexpr int64_t kTiny = 30'000'000;
constexpr int64_t kSmall = 300'000'000;

}  // namespace

Effort effort_for(const LlamaModel& model, bool quick) {
  if (quick) return {1024, 1, 4096, 1024, 12, 2, 1024, 1, 2, 1024, 32};
  const auto parameters = static_cast<int64_t>(llama_model_n_params(model.get()));
  if (parameters <= kTiny) return {16384, 1, 4096, 4096, 100, 8, 2048, 4, 5, 16384, 128};
  if (parameters <= kSmall) return {8192, 2, 512, 1024, 6, 2, 1024, 2, 2, 4096, 64};
  return {4096, 2, 512, 1024, 4, 2, 512, 2, 1, 4096, 32};
}

std::vector<int64_t> Workbench::lengths() const {
  const auto start = static_cast<int64_t>(place.model.start_tokens().size());
  int64_t most = 0;
  for (const Text& text : texts) {
    most = std::max(most, static_cast<int64_t>(text.tokens.size()) + start);
  }
  most = std::min({most, place.model.train_context(), effort.longest});
  std::vector<int64_t> all;
  for (const int64_t length :
       quick ? std::span<const int64_t>(kQuickLengths) : std::span<const int64_t>(kLengths)) {
    if (length <= most) all.push_back(length);
  }
  return all;
}

std::vector<std::vector<llama_token>> Workbench::windows(int64_t length, int count) const {
  const std::vector<llama_token> start = place.model.start_tokens();
  const int64_t read = length - static_cast<int64_t>(start.size());
  std::vector<std::vector<llama_token>> found;
  // The first window of each text, then the second of each: texts differ more than their parts.
  std::vector<std::vector<int64_t>> starts;
  for (const Text& text : texts) {
    starts.push_back(eval::window_starts(static_cast<int64_t>(text.tokens.size()), read, count));
  }
  for (size_t turn = 0; turn < static_cast<size_t>(count); ++turn) {
    for (size_t i = 0; i < texts.size(); ++i) {
      if (turn >= starts[i].size() || static_cast<int>(found.size()) >= count) continue;
      const auto from = texts[i].tokens.begin() + starts[i][turn];
      found.push_back(start);
      found.back().insert(found.back().end(), from, from + read);
    }
  }
  return found;
}

Config Workbench::quality_config() const {
  Config config;
  config.engine.gate = false;
  return config;
}

}  // namespace shadowattn::tool::paper
