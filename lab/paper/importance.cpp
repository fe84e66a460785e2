#include "paper/importance.h"

#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>

#include "common/failure.h"
#include "common/files.h"
#include "common/profile_choice.h"
#include "common/progress.h"
#include "paper/kld_part.h"
#include "profile/budget.h"
#include "profile/loss.h"

namespace shadowattn::tool::paper {
namespace {

constexpr size_t kLossTokens = 512;
constexpr int64_t kManyHeads = 64;

/// What the loss rises to without something, above `base`; a model that only makes noise has lost
/// everything.
double rise(double loss, double base) {
  return std::isfinite(loss) ? std::max(loss - base, 0.0) : kLargestImportance;
}

}  // namespace

Importance measure_importance(const Workbench& workbench, const HeadShape& shape) {
  const eval::Workplace& place = workbench.place;
  const int layers = llama_model_n_layer(place.model.get());
  const int64_t removals = int64_t{layers} * (shape.heads + 1);
  const size_t wanted = removals > kManyHeads ? workbench.effort.importance_tokens : kLossTokens;
  const std::span<const llama_token> other = text_halves(workbench).other;
  const std::vector<llama_token> tokens(
      other.begin(), other.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, other.size())));
  if (tokens.size() < 2) throw Failure("the text is too short to measure heads on");
  LossMeter meter(place.runtime, place.plugin, place.model, tokens, place.threads);
  Progress progress("removing heads", removals, "heads and layers");
  int64_t done = 0;
  Importance importance;
  importance.tokens = static_cast<int64_t>(tokens.size());
  importance.loss = meter.loss({});
  const auto rise_without = [&](int layer, int64_t head) {
    const double loss = meter.loss({layer, static_cast<int32_t>(head)});
    progress.update(++done);
    return rise(loss, importance.loss);
  };
  for (int layer = 0; layer < layers; ++layer) {
    importance.layers.push_back(rise_without(layer, -1));
    importance.heads.emplace_back();
    for (int64_t head = 0; head < shape.heads; ++head) {
      importance.heads.back().push_back(rise_without(layer, head));
    }
  }
  place.plugin.reset_report();
  return importance;
}

ProfileFile::ProfileFile(const Profile& profile) {
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  folder_ = (temporary / "shadowattn-XXXXXX").string();
  if (error || mkdtemp(folder_.data()) == nullptr) {
    throw Failure("cannot make a temporary folder in " + temporary.string());
  }
  path_ = (std::filesystem::path(folder_) / "shares.json").string();
  try {
    if (const std::string problem = profile_path_problem(path_); !problem.empty()) {
      throw Failure("the temporary folder: " + problem);
    }
    write_file_atomically(path_, to_json(profile));
  } catch (...) {
    std::filesystem::remove_all(folder_, error);
    throw;
  }
}

ProfileFile::~ProfileFile() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace shadowattn::tool::paper
