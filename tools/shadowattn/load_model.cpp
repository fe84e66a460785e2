#include "load_model.h"

#include "progress.h"

namespace shadowattn::tool {

std::unique_ptr<LlamaModel> load_model(LlamaRuntime& runtime, const std::string& path) {
  constexpr int kSteps = 1000;
  Progress progress("loading the model", kSteps, "");
  return std::make_unique<LlamaModel>(runtime, path, [&](double share) {
    progress.update(static_cast<int64_t>(share * kSteps));
    return true;
  });
}

}  // namespace shadowattn::tool
